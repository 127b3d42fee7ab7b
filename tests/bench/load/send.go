package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type sender struct {
	address string
	trust   *tls.Config
	login   string
	message []byte
	perConn int
	runID   string
	number  int64
}

// report is what a run prints, as one JSON object.
type report struct {
	Accepted int     `json:"accepted"`
	Failed   int     `json:"failed"`
	First    string  `json:"first_failure"`
	Seconds  float64 `json:"seconds"`
	P50ms    float64 `json:"p50_ms"`
	P99ms    float64 `json:"p99_ms"`
}

// send runs a closed loop: each client sends one mail after the other until the count is reached.
func send(arguments []string) error {
	flags := flag.NewFlagSet("send", flag.ExitOnError)
	address := flags.String("address", "", "host:port of the STARTTLS listener")
	ca := flags.String("ca", "", "trusted certificates, PEM")
	user := flags.String("user", "bench@example.com", "SMTP user name")
	password := flags.String("password", "bench", "SMTP password")
	file := flags.String("message", "", "file with the message")
	clients := flags.Int("clients", 50, "connections at once")
	count := flags.Int("count", 1000, "mails in all")
	perConn := flags.Int("per-connection", 1, "mails on one connection")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	s, err := newSender(*address, *ca, *user, *password, *file, *perConn)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s.run(*clients, *count))
}

func newSender(address, ca, user, password, file string, perConn int) (*sender, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + ca)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	login := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	return &sender{
		address: address,
		trust:   &tls.Config{RootCAs: roots, ServerName: "localhost"},
		login:   login,
		message: text,
		perConn: perConn,
		runID:   fmt.Sprintf("%x", time.Now().UnixNano()),
	}, nil
}

func (s *sender) run(clients, count int) report {
	var (
		left    = int64(count)
		lock    sync.Mutex
		done    sync.WaitGroup
		waits   []float64
		result  report
		started = time.Now()
	)
	for i := 0; i < clients; i++ {
		done.Add(1)
		go func() {
			defer done.Done()
			var mine []float64
			var failed int
			var first error
			for atomic.LoadInt64(&left) > 0 {
				got, err := s.connection(&left)
				mine = append(mine, got...)
				if err != nil {
					failed++
					if first == nil {
						first = err
					}
				}
			}
			lock.Lock()
			defer lock.Unlock()
			waits = append(waits, mine...)
			result.Failed += failed
			if first != nil && result.First == "" {
				result.First = first.Error()
			}
		}()
	}
	done.Wait()
	result.Seconds = time.Since(started).Seconds()
	result.Accepted = len(waits)
	sort.Float64s(waits)
	if n := len(waits); n > 0 {
		result.P50ms, result.P99ms = waits[n/2], waits[n*99/100]
	}
	return result
}

// connection sends up to perConn mails on one connection; it returns the milliseconds from each
// final dot to its 250.
func (s *sender) connection(left *int64) ([]float64, error) {
	raw, err := net.DialTimeout("tcp", s.address, 10*time.Second)
	if err != nil {
		atomic.AddInt64(left, -1)
		return nil, err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Minute))
	secured := tls.Client(raw, s.trust)
	in, err := s.open(raw, secured)
	if err != nil {
		atomic.AddInt64(left, -1)
		return nil, err
	}
	var waits []float64
	for i := 0; i < s.perConn && atomic.AddInt64(left, -1) >= 0; i++ {
		wait, err := s.mail(secured, in)
		if err != nil {
			return waits, err
		}
		waits = append(waits, wait)
	}
	_ = say(secured, in, "QUIT", "221")
	return waits, nil
}

func (s *sender) open(raw, secured net.Conn) (*bufio.Reader, error) {
	in := bufio.NewReader(raw)
	if err := expect(in, "220"); err != nil {
		return nil, err
	}
	if err := say(raw, in, "EHLO bench.example.com", "250"); err != nil {
		return nil, err
	}
	if err := say(raw, in, "STARTTLS", "220"); err != nil {
		return nil, err
	}
	in = bufio.NewReader(secured)
	if err := say(secured, in, "EHLO bench.example.com", "250"); err != nil {
		return nil, err
	}
	return in, say(secured, in, "AUTH PLAIN "+s.login, "235")
}

func (s *sender) mail(out net.Conn, in *bufio.Reader) (float64, error) {
	for _, step := range [][2]string{
		{"MAIL FROM:<bench@example.com>", "250"},
		{"RCPT TO:<a@example.org>", "250"},
		{"DATA", "354"},
	} {
		if err := say(out, in, step[0], step[1]); err != nil {
			return 0, err
		}
	}
	// A repeated Message-ID would be a repeat, which the gateway answers without a call.
	number := fmt.Sprintf("%s-%d", s.runID, atomic.AddInt64(&s.number, 1))
	if _, err := out.Write(bytes.Replace(s.message, []byte("NUMBER"), []byte(number), 1)); err != nil {
		return 0, err
	}
	ended := time.Now()
	if err := expect(in, "250"); err != nil {
		return 0, err
	}
	return float64(time.Since(ended).Microseconds()) / 1000, nil
}

func say(out net.Conn, in *bufio.Reader, line, code string) error {
	if _, err := out.Write([]byte(line + "\r\n")); err != nil {
		return err
	}
	return expect(in, code)
}

func expect(in *bufio.Reader, code string) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("wanted %s, got %s", code, strings.TrimSpace(line))
		}
		if len(line) > 3 && line[3] != '-' {
			return nil
		}
	}
}
