// What a stretch of work costs: time, CPU of this process and of the server, memory.

package main

import (
	"bufio"
	"context"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

type meter struct {
	server   int // the first process of the server; 0: it is not on this host
	storeCPU time.Duration
	cpu      time.Duration
	began    time.Time
}

type cost struct {
	took     time.Duration
	cpu      time.Duration
	storeCPU *time.Duration
	peakRss  uint64
}

func startMeter(pool *pgxpool.Pool) (meter, error) {
	// Where the system lets us, each stretch has its own peak.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	server, err := serverPid(pool)
	return meter{server: server, storeCPU: serverCPU(server), cpu: ownCPU(), began: time.Now()}, err
}

// The cost until a moment that has just been.
func (m meter) stop(end time.Time) cost {
	found := cost{took: end.Sub(m.began), cpu: ownCPU() - m.cpu, peakRss: peakRss()}
	if m.server != 0 {
		store := serverCPU(m.server) - m.storeCPU
		found.storeCPU = &store
	}
	return found
}

// User and system time of all threads.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// The parent of the process that serves us, if that is on this host.
func serverPid(pool *pgxpool.Pool) (int, error) {
	var pid int
	if err := pool.QueryRow(context.Background(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return 0, err
	}
	backend := stat(strconv.Itoa(pid))
	if backend == nil || backend.name != "postgres" {
		return 0, nil
	}
	return backend.parent, nil
}

// User and system time of the server: of its first process, with those that have ended, and of its children.
func serverCPU(server int) time.Duration {
	if server == 0 {
		return 0
	}
	var ticks int64
	places, _ := filepath.Glob("/proc/[0-9]*")
	for _, place := range places {
		process := stat(filepath.Base(place))
		switch {
		case process == nil:
		case filepath.Base(place) == strconv.Itoa(server):
			ticks += process.own + process.ended
		case process.parent == server:
			ticks += process.own
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// What the system says of a process; the times in hundredths of a second.
type process struct {
	name       string
	parent     int
	own, ended int64
}

func stat(pid string) *process {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	name, rest, found := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 15 {
		return nil
	}
	number := func(field int) int64 {
		value, _ := strconv.ParseInt(fields[field], 10, 64)
		return value
	}
	_, name, _ = strings.Cut(name, "(")
	return &process{name: name, parent: int(number(1)), own: number(11) + number(12), ended: number(13) + number(14)}
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
