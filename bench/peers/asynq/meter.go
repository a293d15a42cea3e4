// What a stretch of work costs: time, CPU of this process and of Redis, memory.

package main

import (
	"bufio"
	"context"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

type meter struct {
	redis    redis.UniversalClient
	storeCPU time.Duration
	cpu      time.Duration
	began    time.Time
	err      error
}

type cost struct {
	took     time.Duration
	cpu      time.Duration
	storeCPU time.Duration
	peakRss  uint64
}

func startMeter(redis redis.UniversalClient) meter {
	// Where the system lets us, each stretch has its own peak.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	storeCPU, err := storeCPU(redis)
	return meter{redis: redis, storeCPU: storeCPU, err: err, cpu: ownCPU(), began: time.Now()}
}

// The cost until a moment that has just been.
func (m meter) stop(end time.Time) (cost, error) {
	cpu := ownCPU() - m.cpu
	store, err := storeCPU(m.redis)
	if m.err != nil {
		err = m.err
	}
	return cost{took: end.Sub(m.began), cpu: cpu, storeCPU: store - m.storeCPU, peakRss: peakRss()}, err
}

// User and system time of all threads.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// User and system time of Redis, as it says itself.
func storeCPU(client redis.UniversalClient) (time.Duration, error) {
	info, err := client.Info(context.Background(), "cpu").Result()
	if err != nil {
		return 0, err
	}
	var seconds float64
	for _, line := range strings.Split(info, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			found, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			seconds += found
		}
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func peakRss() uint64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib * 1024
		}
	}
	return 0
}

// The value below which this part of all lie, in milliseconds.
func quantileMs(sorted []time.Duration, part float64) *float64 {
	if len(sorted) == 0 {
		return nil
	}
	rank := max(1, int(math.Ceil(part*float64(len(sorted)))))
	ms := sorted[rank-1].Seconds() * 1000
	return &ms
}
