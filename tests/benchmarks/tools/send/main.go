// send keeps a number of requests in flight for a number of requests, and prints what they took as one line of JSON.
//
// To an invoker it sends activation messages, each with ids of its own; to a container (-direct) it sends /run bodies,
// which is the floor under any invoker. It is in Go because a sender in Python would cost more than what it measures.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// sample is what one request took, in ms; ok tells whether the answer was a good one.
type sample struct {
	head, whole float64
	ok          bool
}

type sender struct {
	client   *http.Client
	url      string
	action   string
	each     bool // an action of its own for each request
	blocking bool
	direct   bool
	payload  string
	born     int64
}

func (s *sender) body(number int) []byte {
	id := fmt.Sprintf("%032x", s.born+int64(number))
	if s.direct {
		return encode(map[string]any{"value": map[string]string{"payload": s.payload}, "activation_id": id})
	}
	action := s.action
	if s.each {
		action += "-" + id
	}
	return encode(map[string]any{
		"transid":             []any{"t" + id, time.Now().UnixMilli()},
		"activationId":        id,
		"rootControllerIndex": map[string]string{"asString": "0"},
		"blocking":            s.blocking,
		"revision":            "1-x",
		"action":              map[string]string{"path": "guest", "name": action, "version": "0.0.1"},
		"user": map[string]any{
			"subject": "guest", "namespace": map[string]any{"name": "guest", "annotations": []string{}},
			"authkey": map[string]string{"api_key": "a:b"}, "limits": map[string]any{},
		},
		"content": map[string]string{"payload": s.payload}, "initArgs": []string{}, "lockedArgs": map[string]string{},
	})
}

func encode(value any) []byte {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return body
}

func (s *sender) send(body []byte) sample {
	begun := time.Now()
	response, err := s.client.Post(s.url, "application/json", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return sample{}
	}
	head := time.Since(begun)
	answer, err := io.ReadAll(response.Body)
	whole := time.Since(begun)
	response.Body.Close()
	ok := err == nil && response.StatusCode == http.StatusOK
	if ok && s.blocking && !s.direct {
		ok = bytes.Contains(answer, []byte(`"statusCode":0`))
	}
	if !ok {
		fmt.Fprintf(os.Stderr, "a bad answer: %d %.200s\n", response.StatusCode, answer)
	}
	return sample{head.Seconds() * 1e3, whole.Seconds() * 1e3, ok}
}

func percentile(sorted []float64, share float64) float64 {
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func main() {
	s := &sender{born: time.Now().UnixNano()}
	flag.StringVar(&s.url, "url", "", "where to send to")
	flag.StringVar(&s.action, "action", "fast", "the action's name")
	flag.BoolVar(&s.each, "each", false, "a new action for each request, so that every start is cold")
	flag.BoolVar(&s.blocking, "blocking", true, "whether the message asks for the result")
	flag.BoolVar(&s.direct, "direct", false, "the URL is a container's /run")
	count := flag.Int("count", 100, "how many requests")
	flight := flag.Int("in-flight", 1, "how many at a time")
	pause := flag.Duration("pause", 0, "rest of a worker after each answer")
	size := flag.Int("payload", 0, "bytes of payload, which come back")
	flag.Parse()
	s.payload = strings.Repeat("p", *size)
	s.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: *flight,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // loopback, a certificate of the test's own
	}}

	numbers, samples := make(chan int), make([]sample, *count)
	var workers sync.WaitGroup
	begun := time.Now()
	for range *flight {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for number := range numbers {
				samples[number] = s.send(s.body(number))
				time.Sleep(*pause)
			}
		}()
	}
	for number := range *count {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	seconds := time.Since(begun).Seconds()

	var heads, wholes []float64
	for _, one := range samples {
		if one.ok {
			heads, wholes = append(heads, one.head), append(wholes, one.whole)
		}
	}
	figures := map[string]float64{"bad": float64(*count - len(wholes)), "rps": float64(len(wholes)) / seconds}
	if len(wholes) > 0 {
		slices.Sort(heads)
		slices.Sort(wholes)
		figures["head_p50"], figures["p50"] = percentile(heads, 0.5), percentile(wholes, 0.5)
		figures["p99"] = percentile(wholes, 0.99)
	}
	fmt.Println(string(encode(figures)))
}
