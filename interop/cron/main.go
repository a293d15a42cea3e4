// What Go's robfig/cron v3, which Asynq uses, says of many specs in many zones: written down as
// crates/windlass/src/decide/schedule/tests/asynq.tsv, which our reading of such specs is held to.
//
//	go run ./cron > ../crates/windlass/src/decide/schedule/tests/asynq.tsv
//
// A line is: spec, zone of the scheduler, moment that is asked about, and the next four ticks (`never` if there is none),
// or `refused`, or `panics`. Clocks are only asked about in years that no later version of their rules will change.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

// Zones with a year in which their clocks changed in a way of their own: midnight left out or shown twice, half an hour,
// two hours, a whole day.
var zones = []struct {
	name string
	year int
}{
	{"UTC", 2023}, {"Europe/Berlin", 2023}, {"America/New_York", 2023}, {"America/Sao_Paulo", 2018},
	{"Australia/Lord_Howe", 2022}, {"Asia/Beirut", 2022}, {"America/Havana", 2022}, {"Africa/Cairo", 2010},
	{"Pacific/Apia", 2011}, {"America/St_Johns", 2010}, {"Asia/Tehran", 2020}, {"Asia/Kolkata", 2023},
	{"Antarctica/Troll", 2020}, {"Pacific/Chatham", 2023}, {"America/Santiago", 2021}, {"Asia/Amman", 2018},
	{"America/Caracas", 2007},
}

// Specs that are asked about around each change of the clock.
var around = []string{
	"30 2 * * *", "0 0 * * *", "30 0 * * *", "15 1,3 * * *", "*/20 * * * *", "0 */3 * * *", "59 23 * * *", "0 12 * * 0", "45 1 1,15 * *", "10 0-4/2 * * 5-6", "@every 90m",
}

// Specs that are asked about once, in UTC and in Berlin.
var once = []string{
	"* * * * *", "? ? ? ? ?", "*/7 * * * *", "5/15 * * * *", "0 0 13 * 5", "0 0 */13 * 5", "0 0 13 * */2", "0 0 */1 * 5",
	"0 0 13 * *", "0 0 1 * *", "0 0 ? * 5", "@daily", "@hourly", "@weekly", "0 0 29 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 * *", "0 0 * FEB Mon-fri",
	"0 9-17/4 * * *", "0 0 1 jan-mar/2 *", ", * * * *", "0 0 , * *", "0 0 , * 3", "0,,30 * * * *", "*-5 * * * *", "+5 * * * *",
	"0 0 29 2 0", "0 0 29 2 */7", "0 0 1,29 */2 6", "@yearly", "@annually", "@monthly", "@midnight", "@every 1.5s",
	"@every 500ms", "@every 0s", "@every -5m", "@every 1h30m10.9s", "@every 2562047h", "@every .1h", "TZ=Asia/Kolkata 30 9 * * *",
	"CRON_TZ=America/New_York 0 4 * * *", "TZ= 0 4 * * *", "TZ=UTC @daily", "CRON_TZ=UTC  5  4 * * * ",
	// Refused, by the robfig or by Go.
	"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *",
	"* * * * 7", "5-1 * * * *", "*/0 * * * *", "*/ * * * *", "1-2-3 * * * *", "1/2/3 * * * *", "-1 * * * *", "a * * * *",
	"* * L * *", "* * 15W * *", "* * * * 5#2", "* * * * 5L", "* * * JANUARY *", "@Daily", "@daily ", " @daily", "@reboot",
	"@every", "@every ", "@every 5", "@every 1d", "@every 5m ", "@every 9999999999h", "TZ=Mars/Base * * * * *", "TZ=UTC",
	"CRON_TZ=UTC", "TZ=UTC ", "tz=UTC * * * * *", "1_0 * * * *", "99999999999999999999 * * * *", "*/99999 * * * *",
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, zone := range zones {
		location, err := time.LoadLocation(zone.name)
		if err != nil {
			panic(err)
		}
		for _, at := range moments(location, zone.year) {
			for _, spec := range around {
				if !hangs(spec, location, at) {
					fmt.Fprintln(out, line(spec, location, at))
				}
			}
		}
	}
	berlin, _ := time.LoadLocation("Europe/Berlin")
	for _, spec := range once {
		for _, location := range []*time.Location{time.UTC, berlin} {
			fmt.Fprintln(out, line(spec, location, time.Date(2021, 3, 26, 22, 10, 30, 400_000_000, time.UTC)))
		}
	}
}

// hangs tells whether the original would never answer: it cannot step over a day that a zone left out, as Samoa did with
// the 30th of December 2011, when that day does not match.
func hangs(spec string, location *time.Location, at time.Time) bool {
	anyDay := strings.HasSuffix(spec, " * * *") || strings.HasPrefix(spec, "@every")
	left := time.Date(2011, 12, 30, 10, 0, 0, 0, time.UTC)
	return !anyDay && location.String() == "Pacific/Apia" && at.Before(left) && left.Sub(at) < 120*24*time.Hour
}

// moments are around each change of the clock: long before, just before, and while times may be
// shown again.
func moments(location *time.Location, year int) []time.Time {
	start := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	found := []time.Time{start}
	for at := start; at.Year() == year; at = at.Add(15 * time.Minute) {
		next := at.Add(15 * time.Minute)
		_, before := at.In(location).Zone()
		_, after := next.In(location).Zone()
		if before == after {
			continue
		}
		for next.Add(-time.Minute).After(at) && offset(next.Add(-time.Minute), location) == after {
			next = next.Add(-time.Minute)
		}
		for _, away := range []time.Duration{-26 * time.Hour, -time.Second, 35 * time.Minute} {
			found = append(found, next.Add(away))
		}
	}
	return found
}

func offset(at time.Time, location *time.Location) int {
	_, offset := at.In(location).Zone()
	return offset
}

// line is a question and its answer.
func line(spec string, location *time.Location, at time.Time) (text string) {
	question := fmt.Sprintf("%s\t%s\t%s", spec, location, at.Format("2006-01-02T15:04:05.999Z07:00"))
	defer func() {
		if recover() != nil {
			text = question + "\tpanics"
		}
	}()
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return question + "\trefused"
	}
	ticks := []string{}
	for range 4 {
		at = schedule.Next(at.In(location))
		if at.IsZero() {
			ticks = append(ticks, "never")
			break
		}
		ticks = append(ticks, at.UTC().Format(time.RFC3339))
	}
	return question + "\t" + strings.Join(ticks, " ")
}
