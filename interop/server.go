package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// errSoft is an error that counts as no failure.
var errSoft = errors.New("go says not yet")

// serve runs a server whose handlers do what their kind says: fail, skip (do not retry), soft (fail, but it does not
// count), hold (until let go, and then as that says); any other ends well. With a group size it aggregates: the members'
// payloads, joined, become a task of the kind "sum" with the id "sum".
func (d *driver) serve(c command) error {
	retry := time.Second
	if c.RetryMs > 0 {
		retry = millis(c.RetryMs)
	}
	config := asynq.Config{
		Concurrency:              4,
		Queues:                   map[string]int{c.Queue: 1},
		DelayedTaskCheckInterval: 200 * time.Millisecond,
		TaskCheckInterval:        100 * time.Millisecond,
		ShutdownTimeout:          200 * time.Millisecond,
		JanitorInterval:          200 * time.Millisecond,
		GroupGracePeriod:         time.Second,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return retry },
		IsFailure:                func(err error) bool { return !errors.Is(err, errSoft) },
		LogLevel:                 asynq.FatalLevel,
	}
	if c.GroupSize > 0 {
		config.GroupMaxSize = c.GroupSize
		config.GroupAggregator = asynq.GroupAggregatorFunc(aggregate)
	}
	d.server = asynq.NewServer(d.redis, config)
	return d.server.Start(asynq.HandlerFunc(d.runs.handle))
}

func (d *driver) stop() {
	if d.server != nil {
		d.server.Shutdown()
		d.server = nil
	}
}

func aggregate(_ string, tasks []*asynq.Task) *asynq.Task {
	var payloads []string
	for _, task := range tasks {
		payloads = append(payloads, string(task.Payload()))
	}
	return asynq.NewTask("sum", []byte(strings.Join(payloads, "+")), asynq.TaskID("sum"))
}

// runs is what the handlers did, and what they wait for.
type runs struct {
	mutex   *sync.Mutex
	ran     *[]answer
	held    map[string]chan string
	started map[string]int
	changed *chan struct{}
}

func newRuns() runs {
	changed := make(chan struct{})
	return runs{
		mutex: &sync.Mutex{}, ran: &[]answer{}, held: map[string]chan string{}, started: map[string]int{}, changed: &changed,
	}
}

func (r runs) all() []answer {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return *r.ran
}

// await waits until the handler of a task was started so often: ten seconds at most.
func (r runs) await(id string, times int) error {
	late := time.After(10 * time.Second)
	for {
		r.mutex.Lock()
		started, changed := r.started[id], *r.changed
		r.mutex.Unlock()
		if started >= times {
			return nil
		}
		select {
		case <-changed:
		case <-late:
			return fmt.Errorf("%s was started %d times in ten seconds, not %d", id, started, times)
		}
	}
}

func (r runs) letGo(id, how string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if held, there := r.held[id]; there {
		held <- how
		delete(r.held, id)
	}
}

// begin notes the start of a run, and gives what a held one waits for.
func (r runs) begin(id string, retried int, task *asynq.Task) chan string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	*r.ran = append(*r.ran, answer{
		"id": id, "kind": task.Type(), "payload": string(task.Payload()), "retried": retried, "headers": task.Headers(),
	})
	held := make(chan string, 1)
	if task.Type() == "hold" {
		r.held[id] = held
	}
	r.started[id]++
	close(*r.changed)
	*r.changed = make(chan struct{})
	return held
}

func (r runs) handle(ctx context.Context, task *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	held := r.begin(id, retried, task)
	how := task.Type()
	if how == "hold" {
		select {
		case how = <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch how {
	case "fail":
		return errors.New("go says no")
	case "skip":
		return fmt.Errorf("never: %w", asynq.SkipRetry)
	case "soft":
		return errSoft
	}
	_, err := task.ResultWriter().Write([]byte("done by go"))
	return err
}
