// Asynq's web UI without its pages: asks asynqmon's JSON API in this process, line by line.
//
// It reads one request a line (`GET /api/queues`, `POST /api/queues/q:pause`) and answers one JSON document a line: the
// status and the body. A module of its own, because asynqmon brings an older Asynq.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

type answer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"`
	Text   string          `json:"text,omitempty"`
}

func main() {
	redis, err := asynq.ParseRedisURI(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	monitor := asynqmon.New(asynqmon.Options{RedisConnOpt: redis})
	defer monitor.Close()
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		method, path, _ := strings.Cut(in.Text(), " ")
		said := httptest.NewRecorder()
		monitor.ServeHTTP(said, httptest.NewRequest(method, path, nil))
		result := answer{Status: said.Code}
		if body := said.Body.Bytes(); json.Valid(body) {
			result.Body = body
		} else {
			result.Text = said.Body.String()
		}
		if err := out.Encode(result); err != nil {
			os.Exit(1)
		}
	}
}
