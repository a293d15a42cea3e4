// Measures Go's River: enqueueing, bulk, draining, and the time from the enqueue call to the handler. Prints a JSON
// document a figure, with the names that `windlass bench --json` uses. Every job is counted: a run that lost one or ran
// one twice says so and ends with 1.
//
// River as shipped (mode `default`), and as well as its documentation lets one set it (mode `tuned`: 500 workers whatever
// is asked for, a fetch each millisecond, bulk by COPY, ten connections instead of four).
//
// Usage: river --postgres postgres://.. [--phase enqueue,bulk,drain,latency] [--mode default,tuned] [--jobs N]
// [--concurrency 10,50] [--callers 1,50]. It uses the schema `peer_river` of that database, new for each figure, and
// removes it.
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
	StoreCPUUsPerJob *float64 `json:"store_cpu_us_per_job"`
	PeakRssBytes     uint64   `json:"peak_rss_bytes"`
	Durability       string   `json:"durability"`
	Delivery         delivery `json:"delivery"`
}

type delivery struct {
	Enqueued int `json:"enqueued"`
	Finished int `json:"finished"`
	Lost     int `json:"lost"`
	Twice    int `json:"twice"`
}

// How River is set up. Zero is River's own choice, or its pool's.
type mode struct {
	name          string
	workers       int
	fetchCooldown time.Duration
	pool          int32
	copies        bool
}

var modes = map[string]mode{
	"default": {name: "default"},
	"tuned":   {name: "tuned", workers: 500, fetchCooldown: time.Millisecond, pool: 10, copies: true},
}

func main() {
	postgres := flag.String("postgres", "postgres://127.0.0.1:5432/postgres", "URL of the database")
	phases := flag.String("phase", "enqueue,bulk,drain,latency", "what to measure")
	names := flag.String("mode", "default", "how: default, tuned")
	jobs := flag.Int("jobs", 0, "how many jobs (0: 100000; enqueue 10000, latency 500)")
	slots := flag.String("concurrency", "50", "how many run at once (drain, latency)")
	callers := flag.String("callers", "1,50", "how many enqueue at once (enqueue)")
	flag.Parse()

	exact := true
	for _, phase := range strings.Split(*phases, ",") {
		widths := map[string]string{"enqueue": *callers, "bulk": "1"}[phase]
		if widths == "" {
			widths = *slots
		}
		for _, name := range strings.Split(*names, ",") {
			mode, known := modes[name]
			if !known {
				fail(2, fmt.Errorf("there is no mode %q", name))
			}
			for _, text := range strings.Split(widths, ",") {
				width, err := strconv.Atoi(text)
				if err != nil {
					fail(2, err)
				}
				found, err := measure(*postgres, mode, phase, *jobs, width)
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
	fmt.Fprintln(os.Stderr, "river:", err)
	os.Exit(code)
}

// A phase, and how many jobs it takes by itself.
var phases = map[string]struct {
	run  func(*site, int, int) (result, error)
	jobs int
}{
	"enqueue": {(*site).enqueue, 10_000},
	"bulk":    {(*site).bulk, 100_000},
	"drain":   {(*site).drain, 100_000},
	"latency": {(*site).latency, 500},
}

func measure(url string, mode mode, name string, jobs, width int) (*figure, error) {
	phase, known := phases[name]
	if !known {
		return nil, fmt.Errorf("there is no phase %q", name)
	}
	if jobs <= 0 {
		jobs = phase.jobs
	}
	site, err := open(url, mode)
	if err != nil {
		return nil, err
	}
	defer site.close()
	durability, err := site.durability()
	if err != nil {
		return nil, err
	}
	found, err := phase.run(site, jobs, width)
	if err != nil {
		return nil, err
	}
	seconds := found.cost.took.Seconds()
	perJob := func(time time.Duration) float64 { return time.Seconds() * 1e6 / float64(jobs) }
	figure := &figure{
		Peer: "river", Version: version(), Store: "postgres", Mode: mode.name, Phase: name, Jobs: jobs, Concurrency: width,
		Seconds: seconds, Rate: float64(jobs) / seconds,
		P50Ms: quantileMs(found.times, 0.5), P99Ms: quantileMs(found.times, 0.99),
		CPUUsPerJob: perJob(found.cost.cpu), PeakRssBytes: found.cost.peakRss,
		Durability: durability, Delivery: found.delivery,
	}
	if found.cost.storeCPU != nil {
		us := perJob(*found.cost.storeCPU)
		figure.StoreCPUUsPerJob = &us
	}
	return figure, nil
}

// Of River, as this program was built with it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/riverqueue/river" {
				return module.Version
			}
		}
	}
	return "unknown"
}
