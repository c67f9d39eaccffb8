package delivery

import (
	"encoding/json"
	"fmt"
)

// Failures says of each message of a batch what was wrong with it, by the body of
// a 2xx answer; "" for one that is done. ids are the messages', of which several
// may have the same. typed says that the answer calls its body JSON.
//
// It is the shape of AWS Lambda, {"batchItemFailures":[{"itemIdentifier":"<id>"}]},
// and is read as strictly: a body that is no such thing at all means that all are
// done, and one that cannot be told apart, that all have failed.
func Failures(ids []string, body []byte, typed bool) []string {
	failed, problem := failedItems(body, typed)
	out := make([]string, len(ids))
	known := map[string]bool{}
	for i, id := range ids {
		known[id] = true
		if failed[id] {
			out[i] = "the function's answer names it in batchItemFailures"
		}
	}
	for id := range failed {
		if !known[id] {
			problem = fmt.Sprintf("the function's answer has itemIdentifier %q in batchItemFailures, which is no event of the batch, so that all of them count as failed", id)
		}
	}
	if problem != "" {
		for i := range out {
			out[i] = problem
		}
	}
	return out
}

// failedItems reads the identifiers of a body; problem says why it cannot be.
func failedItems(body []byte, typed bool) (failed map[string]bool, problem string) {
	var answer any
	if err := json.Unmarshal(body, &answer); err != nil {
		if typed && len(body) > 0 {
			return nil, fmt.Sprintf("the function's answer is not the JSON that it says it is (%v), so that all events of the batch count as failed", err)
		}
		return nil, ""
	}
	fields, _ := answer.(map[string]any)
	value := fields["batchItemFailures"]
	if value == nil {
		return nil, ""
	}
	const unreadable = "the function's answer has batchItemFailures that are not a list of {\"itemIdentifier\": \"<event id>\"}, so that all events of the batch count as failed"
	items, ok := value.([]any)
	if !ok {
		return nil, unreadable
	}
	failed = make(map[string]bool, len(items))
	for _, item := range items {
		fields, _ := item.(map[string]any)
		id, _ := fields["itemIdentifier"].(string)
		if id == "" {
			return nil, unreadable
		}
		failed[id] = true
	}
	return failed, ""
}
