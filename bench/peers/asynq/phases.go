// The phases: what is enqueued, run and counted.

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	queue = "peer-asynq"
	kind  = "bench:noop"
	// Enqueued before the latency is measured, and not counted.
	warmUp = 20
	every  = 10 * time.Millisecond
)

// Asynq on one queue of a Redis.
type site struct {
	options   asynq.RedisClientOpt
	mode      mode
	client    *asynq.Client
	inspector *asynq.Inspector
	redis     redis.UniversalClient
}

type result struct {
	cost     cost
	times    []time.Duration
	delivery delivery
}

func open(address string, mode mode) (*site, error) {
	options, err := connection(address, mode)
	if err != nil {
		return nil, err
	}
	s := &site{
		options: options, mode: mode, client: asynq.NewClient(options), inspector: asynq.NewInspector(options),
		redis: options.MakeRedisClient().(redis.UniversalClient),
	}
	return s, s.clear()
}

func (s *site) close() {
	if err := s.clear(); err != nil {
		fail(3, err)
	}
	s.client.Close()
	s.inspector.Close()
	s.redis.Close()
}

// Removes the queue: Asynq's own removal leaves the counters, so those go by name.
func (s *site) clear() error {
	ctx := context.Background()
	if known, err := s.redis.SIsMember(ctx, "asynq:queues", queue).Result(); err != nil {
		return err
	} else if known {
		if err := s.inspector.DeleteQueue(queue, true); err != nil {
			return err
		}
	}
	keys := s.redis.Scan(ctx, 0, "asynq:{"+queue+"}:*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := s.redis.Del(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}

func task(number int) *asynq.Task {
	payload := fmt.Sprintf(
		`{"number":%d,"to":"somebody@example.com","subject":"your invoice is ready","template":"invoice"}`, number)
	return asynq.NewTask(kind, []byte(payload))
}

// The id carries the number, so that the handler can tell which one it runs without reading the payload.
func (s *site) put(number int) error {
	_, err := s.client.Enqueue(task(number), asynq.Queue(queue), asynq.TaskID(strconv.Itoa(number)))
	return err
}

// Calls from this many callers, each of which waits for the answer, until all numbers are used up.
func spread(jobs, callers int, call func(number int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, callers)
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := int(next.Add(1)) - 1; number < jobs; number = int(next.Add(1)) - 1 {
				if err := call(number); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	group.Wait()
	close(errs)
	return <-errs
}

func (s *site) enqueue(jobs, callers int) (result, error) {
	times := make([]time.Duration, jobs)
	meter := startMeter(s.redis)
	err := spread(jobs, callers, func(number int) error {
		began := time.Now()
		// As shipped: with an id that the client makes.
		_, err := s.client.Enqueue(task(number), asynq.Queue(queue))
		times[number] = time.Since(began)
		return err
	})
	if err != nil {
		return result{}, err
	}
	cost, err := meter.stop(time.Now())
	if err != nil {
		return result{}, err
	}
	info, err := s.inspector.GetQueueInfo(queue)
	if err != nil {
		return result{}, err
	}
	slices.Sort(times)
	lost, twice := max(0, jobs-info.Pending), max(0, info.Pending-jobs)
	return result{cost, times, delivery{Enqueued: jobs, Lost: lost, Twice: twice}}, nil
}

// What became of each job. Numbers from `jobs` on are of the warm-up and are not counted.
type tally struct {
	runs  []atomic.Int32
	began []time.Time
	left  atomic.Int64
	all   chan struct{}
}

func newTally(jobs int) *tally {
	t := &tally{runs: make([]atomic.Int32, jobs), began: make([]time.Time, jobs), all: make(chan struct{})}
	t.left.Store(int64(jobs))
	return t
}

func (t *tally) ProcessTask(ctx context.Context, _ *asynq.Task) error {
	now := time.Now()
	id, _ := asynq.GetTaskID(ctx)
	number, err := strconv.Atoi(id)
	if err != nil || number >= len(t.runs) {
		return err
	}
	if t.runs[number].Add(1) == 1 {
		t.began[number] = now
		if t.left.Add(-1) == 0 {
			close(t.all)
		}
	}
	return nil
}

func (s *site) serve(tally *tally, slots int) (*asynq.Server, error) {
	server := asynq.NewServer(s.options, asynq.Config{
		Concurrency: slots, Queues: map[string]int{queue: 1}, TaskCheckInterval: s.mode.taskCheckInterval,
		LogLevel: asynq.ErrorLevel,
	})
	return server, server.Start(tally)
}

func (s *site) drain(jobs, slots int) (result, error) {
	if err := spread(jobs, 50, s.put); err != nil {
		return result{}, err
	}
	tally := newTally(jobs)
	meter := startMeter(s.redis)
	server, err := s.serve(tally, slots)
	if err != nil {
		return result{}, err
	}
	defer server.Shutdown()
	end, err := s.ended(tally)
	if err != nil {
		return result{}, err
	}
	cost, err := meter.stop(end)
	if err != nil {
		return result{}, err
	}
	delivery, err := s.delivered(tally, 0)
	return result{cost: cost, delivery: delivery}, err
}

func (s *site) latency(jobs, slots int) (result, error) {
	tally := newTally(jobs)
	server, err := s.serve(tally, slots)
	if err != nil {
		return result{}, err
	}
	defer server.Shutdown()
	if _, err := s.send(jobs, warmUp); err != nil {
		return result{}, err
	}
	meter := startMeter(s.redis)
	called, err := s.send(0, jobs)
	if err != nil {
		return result{}, err
	}
	end, err := s.ended(tally)
	if err != nil {
		return result{}, err
	}
	cost, err := meter.stop(end)
	if err != nil {
		return result{}, err
	}
	times := make([]time.Duration, jobs)
	for number := range times {
		times[number] = tally.began[number].Sub(called[number])
	}
	slices.Sort(times)
	delivery, err := s.delivered(tally, warmUp)
	return result{cost, times, delivery}, err
}

// Enqueues so many, 100 a second, each in time whatever becomes of the one before. Says when each call was made.
func (s *site) send(from, count int) ([]time.Time, error) {
	called := make([]time.Time, count)
	errs := make(chan error, count)
	began := time.Now()
	for number := range count {
		time.Sleep(time.Until(began.Add(time.Duration(number) * every)))
		go func() {
			called[number] = time.Now()
			errs <- s.put(from + number)
		}()
	}
	for range count {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	return called, nil
}

// Waits until all have run and the last outcome is in the store, and says when that was.
func (s *site) ended(tally *tally) (time.Time, error) {
	select {
	case <-tally.all:
	case <-time.After(10 * time.Minute):
		return time.Time{}, fmt.Errorf("%d jobs have not run after ten minutes", tally.left.Load())
	}
	for {
		waiting, err := s.redis.LLen(context.Background(), "asynq:{"+queue+"}:pending").Result()
		if err != nil {
			return time.Time{}, err
		}
		active, err := s.redis.LLen(context.Background(), "asynq:{"+queue+"}:active").Result()
		if err != nil {
			return time.Time{}, err
		}
		if waiting+active == 0 {
			return time.Now(), nil
		}
		time.Sleep(time.Millisecond)
	}
}

// By the counters that Asynq writes with each outcome, and by what ran.
func (s *site) delivered(tally *tally, others int) (delivery, error) {
	info, err := s.inspector.GetQueueInfo(queue)
	if err != nil {
		return delivery{}, err
	}
	jobs := len(tally.runs)
	found := delivery{Enqueued: jobs, Finished: info.ProcessedTotal - info.FailedTotal - others}
	for number := range tally.runs {
		found.Twice += max(0, int(tally.runs[number].Load())-1)
	}
	found.Twice = max(found.Twice, found.Finished-jobs)
	found.Lost = max(0, jobs-found.Finished, info.Size)
	return found, nil
}
