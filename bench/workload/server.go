package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// command is the package of the program under test.
const command = "recharged/cmd/recharged"

// Build builds the real binary into a directory and returns its path.
func Build(dir string) (string, error) {
	binary := filepath.Join(dir, "recharged")
	output, err := exec.Command("go", "build", "-o", binary, command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, output)
	}
	return binary, lookAtSources()
}

// lookAtSources looks at every file of the project that the binary is made of.
// The go command notes what a test looks at, so it does not take an old result
// for that of new code, of which the test imports nothing.
func lookAtSources() error {
	const format = `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}` +
		`{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	output, err := exec.Command("go", "list", "-deps", "-f", format, command).Output()
	if err != nil {
		return fmt.Errorf("list the binary's sources: %w", err)
	}
	for _, path := range strings.Fields(string(output)) {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

// Server is the real binary on one data directory and one pair of ports, across
// any number of starts. It ends only processes that it started itself. Its
// methods are for one goroutine, Exited excepted.
type Server struct {
	HTTP string // address of the API
	NATS string // address for NATS clients
	Logs string // file that everything it prints is appended to
	Data string // folder of its data

	binary   string
	rulebook string // its file
	args     []string
	process  *exec.Cmd
	exited   chan struct{} // closed when the process has ended; result is set then
	result   error
}

// NewServer prepares a server below dir, with free ports of the loopback
// interface and the workload's rulebook, with the budgets of a thousand events;
// UseBudgets gives it others. More arguments go to the command.
func NewServer(binary, dir string, args ...string) (*Server, error) {
	s := &Server{
		binary: binary, Logs: filepath.Join(dir, "server.log"), Data: filepath.Join(dir, "data"),
		rulebook: filepath.Join(dir, "rulebook.yaml"),
	}
	if err := s.UseBudgets(1000); err != nil {
		return nil, err
	}
	for _, address := range []*string{&s.HTTP, &s.NATS} {
		listener, err := listen()
		if err != nil {
			return nil, err
		}
		defer listener.Close() // Both ports are held until both are known.
		*address = listener.Addr().String()
	}
	s.args = append([]string{
		"serve", "--data", s.Data, "--rulebook", s.rulebook,
		"--listen", s.HTTP, "--nats-listen", s.NATS,
	}, args...)
	return s, nil
}

// UseBudgets gives the server the rulebook with the budgets of a workload of so
// many events. It must not have been started yet.
func (s *Server) UseBudgets(events int) error {
	return os.WriteFile(s.rulebook, Rulebook(events), 0o600)
}

// listen finds a free port below those that the system gives to outgoing
// connections: a client that dials a port of those again and again while
// nobody listens may be connected to itself, and then the server cannot have it.
func listen() (net.Listener, error) {
	const first, count, tries = 18000, 12000, 100
	var err error
	for range tries {
		var listener net.Listener
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count)))
		if listener, err = net.Listen("tcp", address); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("find a free port: %w", err)
}

// Start starts the process and returns at once.
func (s *Server) Start() error {
	logs, err := os.OpenFile(s.Logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logs.Close() // The process has a descriptor of its own.
	s.process = exec.Command(s.binary, s.args...)
	s.process.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "RECHARGED_") })
	s.process.Stdout, s.process.Stderr = logs, logs
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	process, exited := s.process, make(chan struct{})
	s.exited = exited
	go func() {
		s.result = process.Wait()
		close(exited)
	}()
	return nil
}

// Exited is closed when the process that runs now has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// readyPoll is how often a starting process is asked whether it is ready.
const readyPoll = 2 * time.Millisecond

// AwaitReady returns when the server is ready: it accepts events and has caught up.
func (s *Server) AwaitReady(ctx context.Context) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		last := s.Ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended by itself: %v\n%s", s.result, s.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w: %w\n%s", ctx.Err(), last, s.Tail())
		case <-ticker.C:
		}
	}
}

// Ready asks the server once whether it is ready, and returns why not.
func (s *Server) Ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTP+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz says %s", response.Status)
	}
	return nil
}

// Kill ends the process as a power cut would, and returns when it is gone.
func (s *Server) Kill() error {
	select {
	case <-s.exited:
		return fmt.Errorf("the server ended before it was killed: %v\n%s", s.result, s.Tail())
	default:
	}
	if err := s.process.Process.Kill(); err != nil {
		return fmt.Errorf("kill the server: %w", err)
	}
	<-s.exited
	return nil
}

// Stop asks the process to end, as an operator does, and returns how long that
// took. An exit code other than 0 is an error.
func (s *Server) Stop(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-s.exited:
	case <-ctx.Done():
		return 0, fmt.Errorf("stop the server: %w\n%s", ctx.Err(), s.Tail())
	}
	if s.result != nil {
		return 0, fmt.Errorf("the server stopped with %w\n%s", s.result, s.Tail())
	}
	return time.Since(begin), nil
}

// Close ends the process if it still runs. It is for the end of a test.
func (s *Server) Close() error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	return nil
}

// Tail returns the end of what the server printed, for the error of a test.
func (s *Server) Tail() string {
	const bytesMax = 4 << 10
	logs, err := os.ReadFile(s.Logs)
	if err != nil {
		return err.Error()
	}
	return string(logs[max(0, len(logs)-bytesMax):])
}
