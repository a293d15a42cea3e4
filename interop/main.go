// Go's side of the tests of windlass's Redis store: Asynq's own client, server and inspector, driven line by line.
//
// It reads one JSON command a line and answers one JSON document a line. The Rust tests start it; see
// crates/windlass/tests/interop.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// A command: what to do, and what it needs. Durations are milliseconds.
type command struct {
	Do        string            `json:"do"`
	Queue     string            `json:"queue"`
	ID        string            `json:"id"`
	Kind      string            `json:"kind"`
	Payload   string            `json:"payload"`
	MaxRetry  *int              `json:"max_retry"`
	TimeoutMs int64             `json:"timeout_ms"`
	InMs      int64             `json:"in_ms"`
	UniqueMs  int64             `json:"unique_ms"`
	RetainMs  int64             `json:"retain_ms"`
	Group     string            `json:"group"`
	Headers   map[string]string `json:"headers"`
	State     string            `json:"state"`
}

type answer map[string]any

type driver struct {
	redis     asynq.RedisConnOpt
	client    *asynq.Client
	inspector *asynq.Inspector
	server    *asynq.Server
	mutex     sync.Mutex
	ran       []answer
	held      map[string]chan string
}

func main() {
	redis, err := asynq.ParseRedisURI(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	d := &driver{
		redis: redis, client: asynq.NewClient(redis), inspector: asynq.NewInspector(redis),
		held: map[string]chan string{},
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var c command
		result := answer{}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			result["error"] = err.Error()
		} else if found, err := d.do(c); err != nil {
			result["error"] = err.Error()
		} else if found != nil {
			result = found
		}
		if err := out.Encode(result); err != nil {
			os.Exit(1)
		}
	}
	if d.server != nil {
		d.server.Shutdown()
	}
}

func (d *driver) do(c command) (answer, error) {
	switch c.Do {
	case "enqueue":
		return d.enqueue(c)
	case "serve":
		return nil, d.serve(c)
	case "stop":
		d.server.Shutdown()
		d.server = nil
		return nil, nil
	case "ran":
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return answer{"ran": d.ran}, nil
	case "let_go":
		d.mutex.Lock()
		defer d.mutex.Unlock()
		if held, there := d.held[c.ID]; there {
			held <- c.State
			delete(d.held, c.ID)
		}
		return nil, nil
	case "pause":
		return nil, d.inspector.PauseQueue(c.Queue)
	case "unpause":
		return nil, d.inspector.UnpauseQueue(c.Queue)
	case "cancel":
		return nil, d.inspector.CancelProcessing(c.ID)
	case "archive":
		return nil, d.inspector.ArchiveTask(c.Queue, c.ID)
	case "run":
		return nil, d.inspector.RunTask(c.Queue, c.ID)
	case "delete":
		return nil, d.inspector.DeleteTask(c.Queue, c.ID)
	case "task":
		return d.task(c)
	case "queue":
		return d.queue(c)
	case "list":
		return d.list(c)
	case "servers":
		return d.servers()
	}
	return nil, fmt.Errorf("unknown command %q", c.Do)
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func (d *driver) enqueue(c command) (answer, error) {
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
	if c.InMs > 0 {
		options = append(options, asynq.ProcessIn(millis(c.InMs)))
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
	task := asynq.NewTaskWithHeaders(c.Kind, []byte(c.Payload), c.Headers, options...)
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

// serve runs a server whose handlers do what their kind says: ok, fail, skip (do not retry), hold (until let go, and
// then as that says).
func (d *driver) serve(c command) error {
	config := asynq.Config{
		Concurrency:              4,
		Queues:                   map[string]int{c.Queue: 1},
		DelayedTaskCheckInterval: 200 * time.Millisecond,
		TaskCheckInterval:        100 * time.Millisecond,
		ShutdownTimeout:          200 * time.Millisecond,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return time.Second },
		LogLevel:                 asynq.FatalLevel,
	}
	d.server = asynq.NewServer(d.redis, config)
	return d.server.Start(asynq.HandlerFunc(d.handle))
}

func (d *driver) handle(ctx context.Context, task *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	d.mutex.Lock()
	d.ran = append(d.ran, answer{
		"id": id, "kind": task.Type(), "payload": string(task.Payload()), "retried": retried, "headers": task.Headers(),
	})
	held := make(chan string, 1)
	if task.Type() == "hold" {
		d.held[id] = held
	}
	d.mutex.Unlock()
	switch task.Type() {
	case "fail":
		return errors.New("go says no")
	case "skip":
		return fmt.Errorf("never: %w", asynq.SkipRetry)
	case "hold":
		select {
		case how := <-held:
			switch how {
			case "fail":
				return errors.New("go says no")
			case "skip":
				return fmt.Errorf("never: %w", asynq.SkipRetry)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := task.ResultWriter().Write([]byte("done by go"))
	return err
}

func (d *driver) task(c command) (answer, error) {
	info, err := d.inspector.GetTaskInfo(c.Queue, c.ID)
	if err != nil {
		return nil, err
	}
	return show(info), nil
}

func show(info *asynq.TaskInfo) answer {
	var deadline any
	if !info.Deadline.IsZero() {
		deadline = info.Deadline.Unix()
	}
	return answer{
		"id": info.ID, "kind": info.Type, "payload": string(info.Payload), "state": info.State.String(),
		"max_retry": info.MaxRetry, "retried": info.Retried, "last_error": info.LastErr,
		"deadline_s": deadline, "timeout_ms": info.Timeout.Milliseconds(), "retain_ms": info.Retention.Milliseconds(),
		"group": info.Group, "headers": info.Headers, "result": string(info.Result), "orphaned": info.IsOrphaned,
	}
}

func (d *driver) queue(c command) (answer, error) {
	info, err := d.inspector.GetQueueInfo(c.Queue)
	if err != nil {
		return nil, err
	}
	return answer{
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed, "aggregating": info.Aggregating,
		"processed": info.ProcessedTotal, "failed": info.FailedTotal, "paused": info.Paused,
		"latency_ms": info.Latency.Milliseconds(),
	}, nil
}

func (d *driver) list(c command) (answer, error) {
	lists := map[string]func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		"pending": d.inspector.ListPendingTasks, "active": d.inspector.ListActiveTasks,
		"scheduled": d.inspector.ListScheduledTasks, "retry": d.inspector.ListRetryTasks,
		"archived": d.inspector.ListArchivedTasks, "completed": d.inspector.ListCompletedTasks,
	}
	tasks, err := lists[c.State](c.Queue)
	if err != nil {
		return nil, err
	}
	shown := []answer{}
	for _, info := range tasks {
		shown = append(shown, show(info))
	}
	return answer{"tasks": shown}, nil
}

func (d *driver) servers() (answer, error) {
	found, err := d.inspector.Servers()
	if err != nil {
		return nil, err
	}
	shown := []answer{}
	for _, server := range found {
		shown = append(shown, answer{
			"id": server.ID, "host": server.Host, "status": server.Status, "queues": server.Queues,
			"concurrency": server.Concurrency,
		})
	}
	return answer{"servers": shown}, nil
}
