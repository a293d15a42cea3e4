package main

import (
	"time"

	"github.com/hibiken/asynq"
)

// schedule runs a scheduler with one entry: a spec such as "@every 1s" and the task that it enqueues.
func (d *driver) schedule(c command) (answer, error) {
	d.scheduler = asynq.NewScheduler(d.redis, &asynq.SchedulerOpts{
		HeartbeatInterval: time.Second, LogLevel: asynq.FatalLevel,
	})
	task := asynq.NewTaskWithHeaders(c.Kind, []byte(c.Payload), c.Headers)
	entry, err := d.scheduler.Register(c.Spec, task, options(c)...)
	if err != nil {
		return nil, err
	}
	return answer{"entry": entry}, d.scheduler.Start()
}

func (d *driver) unschedule() {
	if d.scheduler != nil {
		d.scheduler.Shutdown()
		d.scheduler = nil
	}
}

// entries are what Asynq's tools show of the schedulers.
func (d *driver) entries() (answer, error) {
	found, err := d.inspector.SchedulerEntries()
	if err != nil {
		return nil, err
	}
	shown := []answer{}
	for _, entry := range found {
		options := []string{}
		for _, option := range entry.Opts {
			options = append(options, option.String())
		}
		shown = append(shown, answer{
			"id": entry.ID, "spec": entry.Spec, "kind": entry.Task.Type(), "payload": string(entry.Task.Payload()),
			"options": options, "next_ms": entry.Next.UnixMilli(), "prev_ms": entry.Prev.UnixMilli(),
			"never": entry.Prev.IsZero(),
		})
	}
	return answer{"entries": shown}, nil
}

// events are what an entry has enqueued, the newest first.
func (d *driver) events(c command) (answer, error) {
	found, err := d.inspector.ListSchedulerEnqueueEvents(c.ID)
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, event := range found {
		ids = append(ids, event.TaskID)
	}
	return answer{"ids": ids}, nil
}
