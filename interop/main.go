// Go's side of the tests of windlass's Redis store: Asynq's own client, server, inspector and scheduler, driven line
// by line.
//
// It reads one JSON command a line and answers one JSON document a line. The Rust tests start it; see
// crates/windlass/tests/interop. Each part is a file: client.go, server.go, inspector.go, scheduler.go. With `work` or `fill`
// behind the URL it is a part of the scripts under bench/ (load.go).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

// A command: what to do, and what it needs. Spans and moments are milliseconds.
type command struct {
	Do         string            `json:"do"`
	Queue      string            `json:"queue"`
	ID         string            `json:"id"`
	Kind       string            `json:"kind"`
	Payload    string            `json:"payload"`
	MaxRetry   *int              `json:"max_retry"`
	TimeoutMs  int64             `json:"timeout_ms"`
	DeadlineMs int64             `json:"deadline_ms"`
	InMs       int64             `json:"in_ms"`
	AtMs       int64             `json:"at_ms"`
	UniqueMs   int64             `json:"unique_ms"`
	RetainMs   int64             `json:"retain_ms"`
	RetryMs    int64             `json:"retry_ms"`
	Group      string            `json:"group"`
	GroupSize  int               `json:"group_size"`
	Headers    map[string]string `json:"headers"`
	State      string            `json:"state"`
	Spec       string            `json:"spec"`
	Times      int               `json:"times"`
}

type answer map[string]any

type driver struct {
	redis     asynq.RedisConnOpt
	client    *asynq.Client
	inspector *asynq.Inspector
	server    *asynq.Server
	scheduler *asynq.Scheduler
	runs      runs
}

func main() {
	redis, err := asynq.ParseRedisURI(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if load(redis, os.Args[2:]) {
		return
	}
	d := &driver{
		redis: redis, client: asynq.NewClient(redis), inspector: asynq.NewInspector(redis), runs: newRuns(),
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
	d.stop()
	d.unschedule()
}

func (d *driver) do(c command) (answer, error) {
	switch c.Do {
	case "enqueue":
		return d.enqueue(c)
	case "serve":
		return nil, d.serve(c)
	case "stop":
		d.stop()
		return nil, nil
	case "await":
		return nil, d.runs.await(c.ID, max(c.Times, 1))
	case "ran":
		return answer{"ran": d.runs.all()}, nil
	case "let_go":
		d.runs.letGo(c.ID, c.State)
		return nil, nil
	case "schedule":
		return d.schedule(c)
	case "unschedule":
		d.unschedule()
		return nil, nil
	}
	return d.inspect(c)
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
