package main

import (
	"fmt"

	"github.com/hibiken/asynq"
)

func (d *driver) inspect(c command) (answer, error) {
	switch c.Do {
	case "pause":
		return nil, d.inspector.PauseQueue(c.Queue)
	case "unpause":
		return nil, d.inspector.UnpauseQueue(c.Queue)
	case "cancel":
		return nil, d.inspector.CancelProcessing(c.ID)
	case "archive":
		return nil, d.inspector.ArchiveTask(c.Queue, c.ID)
	case "run":
		return nil, d.inspector.RunTask(c.Queue, c.ID)
	case "delete":
		return nil, d.inspector.DeleteTask(c.Queue, c.ID)
	case "edit":
		return nil, d.inspector.UpdateTaskPayload(c.Queue, c.ID, []byte(c.Payload))
	case "run_all", "archive_all", "delete_all":
		return d.all(c)
	case "delete_queue":
		return nil, d.inspector.DeleteQueue(c.Queue, c.State == "force")
	case "task":
		return d.task(c)
	case "queue":
		return d.queue(c)
	case "groups":
		return d.groups(c)
	case "list":
		return d.list(c)
	case "servers":
		return d.servers()
	case "entries":
		return d.entries()
	case "events":
		return d.events(c)
	}
	return nil, fmt.Errorf("unknown command %q", c.Do)
}

// all does something to every task of a state, and says to how many.
func (d *driver) all(c command) (answer, error) {
	i := d.inspector
	calls := map[string]func(string) (int, error){
		"run_all scheduled": i.RunAllScheduledTasks, "run_all retry": i.RunAllRetryTasks,
		"run_all archived": i.RunAllArchivedTasks, "archive_all pending": i.ArchiveAllPendingTasks,
		"archive_all scheduled": i.ArchiveAllScheduledTasks, "archive_all retry": i.ArchiveAllRetryTasks,
		"delete_all pending": i.DeleteAllPendingTasks, "delete_all scheduled": i.DeleteAllScheduledTasks,
		"delete_all retry": i.DeleteAllRetryTasks, "delete_all archived": i.DeleteAllArchivedTasks,
		"delete_all completed": i.DeleteAllCompletedTasks,
	}
	call, known := calls[c.Do+" "+c.State]
	if !known {
		return nil, fmt.Errorf("there is no %s of %s tasks", c.Do, c.State)
	}
	count, err := call(c.Queue)
	return answer{"count": count}, err
}

func (d *driver) task(c command) (answer, error) {
	info, err := d.inspector.GetTaskInfo(c.Queue, c.ID)
	if err != nil {
		return nil, err
	}
	return show(info), nil
}

func show(info *asynq.TaskInfo) answer {
	shown := answer{
		"id": info.ID, "kind": info.Type, "payload": string(info.Payload), "state": info.State.String(),
		"max_retry": info.MaxRetry, "retried": info.Retried, "last_error": info.LastErr,
		"timeout_ms": info.Timeout.Milliseconds(), "retain_ms": info.Retention.Milliseconds(),
		"group": info.Group, "headers": info.Headers, "result": string(info.Result), "orphaned": info.IsOrphaned,
		"deadline_ms": int64(0), "next_ms": int64(0),
	}
	if !info.Deadline.IsZero() {
		shown["deadline_ms"] = info.Deadline.UnixMilli()
	}
	if !info.NextProcessAt.IsZero() {
		shown["next_ms"] = info.NextProcessAt.UnixMilli()
	}
	return shown
}

func (d *driver) queue(c command) (answer, error) {
	info, err := d.inspector.GetQueueInfo(c.Queue)
	if err != nil {
		return nil, err
	}
	return answer{
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed, "aggregating": info.Aggregating,
		"processed": info.ProcessedTotal, "failed": info.FailedTotal, "paused": info.Paused,
		"latency_ms": info.Latency.Milliseconds(),
	}, nil
}

func (d *driver) groups(c command) (answer, error) {
	found, err := d.inspector.Groups(c.Queue)
	if err != nil {
		return nil, err
	}
	sizes := answer{}
	for _, group := range found {
		sizes[group.Group] = group.Size
	}
	return answer{"groups": sizes}, nil
}

func (d *driver) list(c command) (answer, error) {
	i := d.inspector
	lists := map[string]func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		"pending": i.ListPendingTasks, "active": i.ListActiveTasks, "scheduled": i.ListScheduledTasks,
		"retry": i.ListRetryTasks, "archived": i.ListArchivedTasks, "completed": i.ListCompletedTasks,
		"aggregating": func(queue string, options ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
			return i.ListAggregatingTasks(queue, c.Group, options...)
		},
	}
	list, known := lists[c.State]
	if !known {
		return nil, fmt.Errorf("there is no list of %q tasks", c.State)
	}
	tasks, err := list(c.Queue)
	if err != nil {
		return nil, err
	}
	shown := []answer{}
	for _, info := range tasks {
		shown = append(shown, show(info))
	}
	return answer{"tasks": shown}, nil
}

func (d *driver) servers() (answer, error) {
	found, err := d.inspector.Servers()
	if err != nil {
		return nil, err
	}
	shown := []answer{}
	for _, server := range found {
		shown = append(shown, answer{
			"id": server.ID, "host": server.Host, "status": server.Status, "queues": server.Queues,
			"concurrency": server.Concurrency,
		})
	}
	return answer{"servers": shown}, nil
}
