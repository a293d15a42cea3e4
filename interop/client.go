package main

import (
	"errors"
	"time"

	"github.com/hibiken/asynq"
)

// options are those that a command names; all that Asynq has.
func options(c command) []asynq.Option {
	var options []asynq.Option
	if c.Queue != "" {
		options = append(options, asynq.Queue(c.Queue))
	}
	if c.ID != "" {
		options = append(options, asynq.TaskID(c.ID))
	}
	if c.MaxRetry != nil {
		options = append(options, asynq.MaxRetry(*c.MaxRetry))
	}
	if c.TimeoutMs > 0 {
		options = append(options, asynq.Timeout(millis(c.TimeoutMs)))
	}
	if c.DeadlineMs > 0 {
		options = append(options, asynq.Deadline(time.UnixMilli(c.DeadlineMs)))
	}
	if c.InMs > 0 {
		options = append(options, asynq.ProcessIn(millis(c.InMs)))
	}
	if c.AtMs > 0 {
		options = append(options, asynq.ProcessAt(time.UnixMilli(c.AtMs)))
	}
	if c.UniqueMs > 0 {
		options = append(options, asynq.Unique(millis(c.UniqueMs)))
	}
	if c.RetainMs > 0 {
		options = append(options, asynq.Retention(millis(c.RetainMs)))
	}
	if c.Group != "" {
		options = append(options, asynq.Group(c.Group))
	}
	return options
}

func (d *driver) enqueue(c command) (answer, error) {
	task := asynq.NewTaskWithHeaders(c.Kind, []byte(c.Payload), c.Headers, options(c)...)
	info, err := d.client.Enqueue(task)
	switch {
	case errors.Is(err, asynq.ErrDuplicateTask):
		return answer{"duplicate": "key"}, nil
	case errors.Is(err, asynq.ErrTaskIDConflict):
		return answer{"duplicate": "id"}, nil
	case err != nil:
		return nil, err
	}
	return answer{"id": info.ID, "state": info.State.String()}, nil
}
