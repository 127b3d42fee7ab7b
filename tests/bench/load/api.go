package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// api answers the calls that the gateway makes, over HTTPS and HTTP/1.1, each send after a delay.
func api(arguments []string) error {
	flags := flag.NewFlagSet("api", flag.ExitOnError)
	certificate := flags.String("cert", "", "certificate chain, PEM")
	key := flags.String("key", "", "private key, PEM")
	delay := flags.Duration("delay", 50*time.Millisecond, "time of one send")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{
		Handler:   routes(*delay),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		// An empty, non-nil map switches HTTP/2 off: the gateway speaks HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	return server.ServeTLS(listener, "", "")
}

func routes(delay time.Duration) http.Handler {
	var received int64
	mux := http.NewServeMux()
	fixed := func(path string, body any) {
		text, _ := json.Marshal(body)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			answer(w, http.StatusOK, text)
		})
	}
	type object = map[string]any
	fixed("/token", object{"access_token": "bench", "token_type": "bearer", "expires_in": 432000,
		"refresh_token": "bench", "accounts": []int{1}})
	fixed("/accounts/self", object{"data": object{"id": "1", "status": "active",
		"usage_limits": object{"use_email_api": true}}})
	page := object{"page": 1, "per_page": 50, "count": 1}
	fixed("/brands/default/senders", object{"pagination": page, "data": []object{
		{"id": "7", "name": "Bench", "email": "bench@example.com", "confirmed": true}}})
	fixed("/lists", object{"pagination": page, "data": []object{
		{"id": 9, "name": "Bench", "status": "active", "created_on": 1}}})
	mux.HandleFunc("/v2/emails", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(delay)
		number := atomic.AddInt64(&received, 1)
		answer(w, http.StatusCreated, []byte(fmt.Sprintf(
			`{"email":"a@example.org","object":"email","submitted":true,`+
				`"data":{"id":"00000000-0000-4000-8000-%012d","status":"queued"}}`, number)))
	})
	mux.HandleFunc("/received", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, []byte(fmt.Sprint(atomic.LoadInt64(&received))))
	})
	return mux
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
