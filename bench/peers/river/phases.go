// The phases: what is enqueued, run and counted.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	schema = "peer_river"
	batch  = 1000
	// Enqueued before the latency is measured, and not counted.
	warmUp   = 20
	every    = 10 * time.Millisecond
	patience = 10 * time.Minute
)

// The work: about 100 bytes of JSON.
type mail struct {
	Number   int    `json:"number"`
	To       string `json:"to"`
	Subject  string `json:"subject"`
	Template string `json:"template"`
}

func (mail) Kind() string { return "bench:noop" }

func job(number int) mail {
	return mail{Number: number, To: "somebody@example.com", Subject: "your invoice is ready", Template: "invoice"}
}

// River in a schema of a database.
type site struct {
	mode   mode
	pool   *pgxpool.Pool
	logger *slog.Logger
	client *river.Client[pgx.Tx] // that enqueues, where no server runs
}

type result struct {
	cost     cost
	times    []time.Duration
	delivery delivery
}

func open(url string, mode mode) (*site, error) {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if mode.pool > 0 {
		config.MaxConns = mode.pool
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	s := &site{mode: mode, pool: pool, logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	if err := s.clear(); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: s.logger})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	s.client, err = river.NewClient(driver, &river.Config{Schema: schema, Logger: s.logger})
	return s, err
}

func (s *site) close() {
	if err := s.clear(); err != nil {
		fail(3, err)
	}
	s.pool.Close()
}

func (s *site) clear() error {
	_, err := s.pool.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
	return err
}

func (s *site) durability() (string, error) {
	var commit, fsync string
	err := s.pool.QueryRow(context.Background(), "SELECT current_setting('synchronous_commit'), current_setting('fsync')").
		Scan(&commit, &fsync)
	return fmt.Sprintf("synchronous_commit=%s fsync=%s", commit, fsync), err
}

// How many jobs are in the states of which this is true.
func (s *site) count(condition string) (int, error) {
	var count int
	err := s.pool.QueryRow(context.Background(), "SELECT count(*) FROM "+schema+".river_job WHERE "+condition).Scan(&count)
	return count, err
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
	return s.load(jobs, jobs, callers, func(number int) error {
		_, err := s.client.Insert(context.Background(), job(number), nil)
		return err
	})
}

func (s *site) bulk(jobs, _ int) (result, error) {
	return s.load(jobs, (jobs+batch-1)/batch, 1, func(number int) error {
		return s.put(number*batch, min(jobs, (number+1)*batch), s.mode.copies)
	})
}

// So many jobs by so many calls.
func (s *site) load(jobs, calls, callers int, call func(number int) error) (result, error) {
	times := make([]time.Duration, calls)
	meter, err := startMeter(s.pool)
	if err != nil {
		return result{}, err
	}
	if err := spread(calls, callers, func(number int) error {
		began := time.Now()
		err := call(number)
		times[number] = time.Since(began)
		return err
	}); err != nil {
		return result{}, err
	}
	cost := meter.stop(time.Now())
	found, err := s.count("state = 'available'")
	slices.Sort(times)
	return result{cost, times, delivery{Enqueued: jobs, Lost: max(0, jobs-found), Twice: max(0, found-jobs)}}, err
}

// The jobs with these numbers in one call.
func (s *site) put(from, to int, copies bool) error {
	params := make([]river.InsertManyParams, 0, to-from)
	for number := from; number < to; number++ {
		params = append(params, river.InsertManyParams{Args: job(number)})
	}
	var err error
	if copies {
		_, err = s.client.InsertManyFast(context.Background(), params)
	} else {
		_, err = s.client.InsertMany(context.Background(), params)
	}
	return err
}

// What became of each job. Numbers from `jobs` on are of the warm-up and are not counted.
type tally struct {
	river.WorkerDefaults[mail]
	runs  []atomic.Int32
	began []time.Time
}

func (t *tally) Work(_ context.Context, job *river.Job[mail]) error {
	if number := job.Args.Number; number < len(t.runs) && t.runs[number].Add(1) == 1 {
		t.began[number] = time.Now()
	}
	return nil
}

// River at work, and its word of each job that is completed in the database.
type server struct {
	client    *river.Client[pgx.Tx]
	tally     *tally
	completed <-chan *river.Event
}

func (s *site) serve(jobs, others, slots int) (*server, error) {
	tally := &tally{runs: make([]atomic.Int32, jobs), began: make([]time.Time, jobs)}
	workers := river.NewWorkers()
	river.AddWorker(workers, tally)
	if s.mode.workers > 0 {
		slots = s.mode.workers
	}
	client, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{
		Schema: schema, Logger: s.logger, Workers: workers, FetchCooldown: s.mode.fetchCooldown,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}},
	})
	if err != nil {
		return nil, err
	}
	// Room for all of them: it drops what does not fit.
	completed, _ := client.SubscribeConfig(&river.SubscribeConfig{
		Kinds: []river.EventKind{river.EventKindJobCompleted}, ChanSize: 2*jobs + others,
	})
	return &server{client: client, tally: tally, completed: completed}, client.Start(context.Background())
}

func (s *server) stop() {
	if err := s.client.Stop(context.Background()); err != nil {
		fail(3, err)
	}
}

// Waits until so many are completed in the database, and says when that was.
func (s *server) ended(jobs int) (time.Time, error) {
	late := time.After(patience)
	for done := range jobs {
		select {
		case <-s.completed:
		case <-late:
			return time.Time{}, fmt.Errorf("only %d of %d jobs are completed after ten minutes", done, jobs)
		}
	}
	return time.Now(), nil
}

func (s *site) drain(jobs, slots int) (result, error) {
	for from := 0; from < jobs; from += batch {
		if err := s.put(from, min(jobs, from+batch), true); err != nil {
			return result{}, err
		}
	}
	meter, err := startMeter(s.pool)
	if err != nil {
		return result{}, err
	}
	server, err := s.serve(jobs, 0, slots)
	if err != nil {
		return result{}, err
	}
	end, err := server.ended(jobs)
	if err != nil {
		return result{}, err
	}
	cost := meter.stop(end)
	server.stop()
	delivery, err := s.delivered(server.tally, 0)
	return result{cost: cost, delivery: delivery}, err
}

func (s *site) latency(jobs, slots int) (result, error) {
	server, err := s.serve(jobs, warmUp, slots)
	if err != nil {
		return result{}, err
	}
	if _, err := send(server.client, jobs, warmUp); err != nil {
		return result{}, err
	}
	if _, err := server.ended(warmUp); err != nil {
		return result{}, err
	}
	meter, err := startMeter(s.pool)
	if err != nil {
		return result{}, err
	}
	called, err := send(server.client, 0, jobs)
	if err != nil {
		return result{}, err
	}
	end, err := server.ended(jobs)
	if err != nil {
		return result{}, err
	}
	cost := meter.stop(end)
	server.stop()
	times := make([]time.Duration, jobs)
	for number := range times {
		times[number] = server.tally.began[number].Sub(called[number])
	}
	slices.Sort(times)
	delivery, err := s.delivered(server.tally, warmUp)
	return result{cost, times, delivery}, err
}

// Enqueues so many, 100 a second, each in time whatever becomes of the one before. Says when each call was made.
func send(client *river.Client[pgx.Tx], from, count int) ([]time.Time, error) {
	called := make([]time.Time, count)
	errs := make(chan error, count)
	began := time.Now()
	for number := range count {
		time.Sleep(time.Until(began.Add(time.Duration(number) * every)))
		go func() {
			called[number] = time.Now()
			_, err := client.Insert(context.Background(), job(from+number), nil)
			errs <- err
		}()
	}
	for range count {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	return called, nil
}

// By the states in the database, and by what ran.
func (s *site) delivered(tally *tally, others int) (delivery, error) {
	completed, err := s.count("state = 'completed' AND attempt = 1")
	if err != nil {
		return delivery{}, err
	}
	all, err := s.count("true")
	jobs := len(tally.runs)
	found := delivery{Enqueued: jobs, Finished: completed - others}
	for number := range tally.runs {
		runs := int(tally.runs[number].Load())
		found.Twice += max(0, runs-1)
		found.Lost += max(0, 1-runs)
	}
	found.Lost = max(found.Lost, jobs-found.Finished, all-completed)
	return found, err
}
