// Go's part of the scripts under bench/ that run a fleet of both sides: a worker that tells what it does, and a client
// that brings many tasks in.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
)

// load runs `work QUEUE CONCURRENCY EVENTS` or `fill QUEUE KIND COUNT MS`; false: it is neither.
func load(redis asynq.RedisConnOpt, args []string) bool {
	switch {
	case len(args) == 4 && args[0] == "work":
		exit(work(redis, args[1], args[2], args[3]))
	case len(args) == 5 && args[0] == "fill":
		exit(fill(redis, args[1], args[2], args[3], args[4]))
	default:
		return false
	}
	return true
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work handles every kind: it sleeps for the payload's `ms`. A line of JSON tells of each start and end.
func work(redis asynq.RedisConnOpt, queue, concurrency, events string) error {
	slots, err := strconv.Atoi(concurrency)
	if err != nil {
		return err
	}
	file, err := os.Create(events)
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	tell := func(id, event string) {
		mutex.Lock()
		defer mutex.Unlock()
		at := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
		fmt.Fprintf(file, "{\"at\":\"%s\",\"event\":\"%s\",\"id\":\"%s\",\"server\":\"go\"}\n", at, event, id)
	}
	handle := func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		var nap struct{ Ms int64 }
		if err := json.Unmarshal(task.Payload(), &nap); err != nil {
			return err
		}
		tell(id, "started")
		time.Sleep(millis(nap.Ms))
		tell(id, "ended")
		return nil
	}
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency: slots, Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
	})
	if err := server.Start(asynq.HandlerFunc(handle)); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
	server.Shutdown()
	return nil
}

func fill(redis asynq.RedisConnOpt, queue, kind, count, ms string) error {
	many, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	client := asynq.NewClient(redis)
	defer client.Close()
	payload := []byte(fmt.Sprintf("{\"ms\":%s}", ms))
	for range many {
		task := asynq.NewTask(kind, payload, asynq.Queue(queue), asynq.Retention(24*time.Hour))
		if _, err := client.Enqueue(task); err != nil {
			return err
		}
	}
	return nil
}
