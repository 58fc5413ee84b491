// runtime is an action runtime that does next to nothing, so that a benchmark shows the invoker and not the action.
//
// Its code is a number: so many lines does each run print before the sentinels. The run's payload comes back.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
)

const sentinel = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"

var lines int

func initialize(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Value struct{ Code string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, `{"error":"no JSON"}`, http.StatusBadRequest)
		return
	}
	lines, _ = strconv.Atoi(strings.TrimSpace(body.Value.Code))
	fmt.Fprint(w, `{"ok":true}`)
}

func run(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Value struct{ Payload json.RawMessage }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, `{"error":"no JSON"}`, http.StatusBadRequest)
		return
	}
	out := bufio.NewWriter(os.Stdout)
	for number := range lines {
		fmt.Fprintf(out, "this is line %d of what the function has to say, about eighty bytes in all ....\n", number)
	}
	out.WriteString(sentinel)
	out.Flush()
	os.Stderr.WriteString(sentinel)
	payload := body.Value.Payload
	if payload == nil {
		payload = json.RawMessage("null")
	}
	answer := append(append([]byte(`{"payload":`), payload...), '}')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Write(answer)
}

func main() {
	http.HandleFunc("/init", initialize)
	http.HandleFunc("/run", run)
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	panic(http.ListenAndServe(":8080", nil))
}
