// Measures Go's Asynq: enqueueing, draining, and the time from the enqueue call to the handler. Prints a JSON document a
// figure, with the names that `windlass bench --json` uses. Every job is counted: a run that lost one or ran one twice
// says so and ends with 1.
//
// Asynq as shipped (mode `default`), and as well as its documentation lets one set it (mode `tuned`: a connection for
// each caller, looks for work every 10 ms instead of every second). It has no bulk enqueue in this version.
//
// Usage: asynq --redis 127.0.0.1:6379 [--phase enqueue,drain,latency] [--mode default,tuned] [--jobs N]
// [--concurrency 10,50] [--callers 1,50]. It uses the queue `peer-asynq` of that Redis and removes it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// A figure, as `windlass bench --json` names its parts.
type figure struct {
	Peer             string   `json:"peer"`
	Version          string   `json:"version"`
	Store            string   `json:"store"`
	Mode             string   `json:"mode"`
	Phase            string   `json:"phase"`
	Jobs             int      `json:"jobs"`
	Concurrency      int      `json:"concurrency"`
	Seconds          float64  `json:"seconds"`
	Rate             float64  `json:"rate"`
	P50Ms            *float64 `json:"p50_ms"`
	P99Ms            *float64 `json:"p99_ms"`
	CPUUsPerJob      float64  `json:"cpu_us_per_job"`
	StoreCPUUsPerJob float64  `json:"store_cpu_us_per_job"`
	PeakRssBytes     uint64   `json:"peak_rss_bytes"`
	Delivery         delivery `json:"delivery"`
}

type delivery struct {
	Enqueued int `json:"enqueued"`
	Finished int `json:"finished"`
	Lost     int `json:"lost"`
	Twice    int `json:"twice"`
}

// How Asynq is set up.
type mode struct {
	name              string
	poolSize          int           // 0: Asynq's own choice
	taskCheckInterval time.Duration // 0: Asynq's own choice
}

var modes = map[string]mode{
	"default": {name: "default"},
	"tuned":   {name: "tuned", poolSize: 100, taskCheckInterval: 10 * time.Millisecond},
}

func main() {
	redis := flag.String("redis", "127.0.0.1:6379", "address or URI of the Redis")
	phases := flag.String("phase", "enqueue,drain,latency", "what to measure")
	names := flag.String("mode", "default", "how: default, tuned")
	jobs := flag.Int("jobs", 0, "how many jobs (0: 100000; enqueue 10000, latency 500)")
	slots := flag.String("concurrency", "50", "how many run at once (drain, latency)")
	callers := flag.String("callers", "1,50", "how many enqueue at once (enqueue)")
	flag.Parse()

	exact := true
	for _, phase := range strings.Split(*phases, ",") {
		for _, name := range strings.Split(*names, ",") {
			mode, known := modes[name]
			if !known {
				fail(2, fmt.Errorf("there is no mode %q", name))
			}
			widths := *slots
			if phase == "enqueue" {
				widths = *callers
			}
			for _, text := range strings.Split(widths, ",") {
				width, err := strconv.Atoi(text)
				if err != nil {
					fail(2, err)
				}
				found, err := measure(*redis, mode, phase, *jobs, width)
				if err != nil {
					fail(3, err)
				}
				if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
					fail(3, err)
				}
				exact = exact && found.Delivery.Lost == 0 && found.Delivery.Twice == 0
			}
		}
	}
	if !exact {
		os.Exit(1)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "asynq:", err)
	os.Exit(code)
}

func measure(address string, mode mode, phase string, jobs, width int) (*figure, error) {
	site, err := open(address, mode)
	if err != nil {
		return nil, err
	}
	defer site.close()
	count := func(otherwise int) int {
		if jobs > 0 {
			return jobs
		}
		return otherwise
	}
	var found result
	switch phase {
	case "enqueue":
		jobs = count(10_000)
		found, err = site.enqueue(jobs, width)
	case "drain":
		jobs = count(100_000)
		found, err = site.drain(jobs, width)
	case "latency":
		jobs = count(500)
		found, err = site.latency(jobs, width)
	default:
		err = fmt.Errorf("there is no phase %q", phase)
	}
	if err != nil {
		return nil, err
	}
	seconds := found.cost.took.Seconds()
	perJob := func(time time.Duration) float64 { return time.Seconds() * 1e6 / float64(jobs) }
	return &figure{
		Peer: "asynq", Version: version(), Store: "redis", Mode: mode.name, Phase: phase, Jobs: jobs, Concurrency: width,
		Seconds: seconds, Rate: float64(jobs) / seconds,
		P50Ms: quantileMs(found.times, 0.5), P99Ms: quantileMs(found.times, 0.99),
		CPUUsPerJob: perJob(found.cost.cpu), StoreCPUUsPerJob: perJob(found.cost.storeCPU),
		PeakRssBytes: found.cost.peakRss, Delivery: found.delivery,
	}, nil
}

// Of Asynq, as this program was built with it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/hibiken/asynq" {
				return module.Version
			}
		}
	}
	return "unknown"
}

// Asynq's connection, from an address or a URI.
func connection(address string, mode mode) (asynq.RedisClientOpt, error) {
	if !strings.Contains(address, "://") {
		return asynq.RedisClientOpt{Addr: address, PoolSize: mode.poolSize}, nil
	}
	parsed, err := asynq.ParseRedisURI(address)
	if err != nil {
		return asynq.RedisClientOpt{}, err
	}
	single, ok := parsed.(asynq.RedisClientOpt)
	if !ok {
		return single, fmt.Errorf("%s is not a single server", address)
	}
	single.PoolSize = mode.poolSize
	return single, nil
}
