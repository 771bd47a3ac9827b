package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The floor is what the transport costs without a processor: a NATS server of
// the same version, a stream that the same messages are published to, one
// consumer that publishes those that call for a notification to a second
// stream, as they are. No parsing, no state, no rules, no exactly-once.
const (
	floorCommand = "floor-server" // hidden: the program runs the floor's process

	floorIn    = "floor_in"
	floorOut   = "floor_out"
	floorKeep  = "floor.in.keep"
	floorRelay = "floor.in.relay"
	floorSaid  = "floor.out"

	floorInFlightMax = 4096
)

// floor is a target: the process, seen from the driver.
type floor struct {
	command *exec.Cmd
	stdin   io.Closer // the process ends when it is closed
	way     *natsWay
	outlet  *outlet
}

func startFloor(ctx context.Context, o *options, dir string, sync bool) (*floor, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &floor{command: exec.Command(program, floorCommand, dir, strconv.FormatBool(sync))}
	f.command.Stderr = os.Stderr
	if f.stdin, err = f.command.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := f.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := f.command.Start(); err != nil {
		return nil, fmt.Errorf("start the floor: %w", err)
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		err = f.connect(ctx, o, strings.TrimSpace(url))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the floor: %w", err), f.stop())
	}
	return f, nil
}

func (f *floor) connect(ctx context.Context, o *options, url string) (err error) {
	subject := func(e event) string {
		if e.doubled() {
			return floorRelay
		}
		return floorKeep
	}
	if f.way, err = newNATSWay(url, o.lanes, subject, floorVerdict); err != nil {
		return err
	}
	f.outlet, err = newOutlet(ctx, url, floorOut, `"id":"`)
	return err
}

// floorVerdict reads JetStream's acknowledgement.
func floorVerdict(reply []byte, _ int) error {
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(reply, &ack); {
	case err != nil:
		return fmt.Errorf("read the acknowledgement %.200q: %w", reply, err)
	case ack.Error != nil:
		return ack.Error
	case ack.Sequence == 0:
		return fmt.Errorf("acknowledgement %.200q without a sequence", reply)
	}
	return nil
}

func (f *floor) in() way      { return f.way }
func (f *floor) out() *outlet { return f.outlet }
func (f *floor) pid() int     { return f.command.Process.Pid }

// settled compares the numbers of messages; there is nothing else here.
func (f *floor) settled(ctx context.Context, want *fold) error {
	js, err := jetstream.New(f.outlet.conn)
	if err != nil {
		return err
	}
	for name, count := range map[string]int64{floorIn: want.events, floorOut: want.notification} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", name, err)
		}
		if got := stream.CachedInfo().State.LastSeq; got != uint64(count) {
			return fmt.Errorf("stream %s holds %d messages, the fold has %d", name, got, count)
		}
	}
	if strays := f.outlet.strays.Load(); strays != 0 {
		return fmt.Errorf("%d messages came that are none of ours", strays)
	}
	return nil
}

func (f *floor) stop() error {
	if f.way != nil {
		f.way.close()
	}
	if f.outlet != nil {
		f.outlet.close()
	}
	f.stdin.Close()
	return f.command.Wait()
}

// serveFloor is the floor's process. It prints its URL and ends with its input.
func serveFloor(dir, sync string) error {
	always, err := strconv.ParseBool(sync)
	if err != nil {
		return err
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: dir, SyncAlways: always,
	})
	if err != nil {
		return err
	}
	ns.Start()
	defer ns.WaitForShutdown()
	defer ns.Shutdown()
	if !ns.ReadyForConnections(startWithin) {
		return errors.New("the floor's NATS server is not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := relay(nc); err != nil {
		return err
	}
	fmt.Println(ns.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// relay makes the streams and publishes what is to be said, for as long as the
// connection lives.
func relay(nc *nats.Conn) error {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(floorInFlightMax))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for name, subject := range map[string]string{floorIn: "floor.in.*", floorOut: floorSaid} {
		config := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Storage: jetstream.FileStorage}
		if _, err := js.CreateStream(ctx, config); err != nil {
			return fmt.Errorf("create stream %s: %w", name, err)
		}
	}
	consumer, err := js.OrderedConsumer(ctx, floorIn, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	_, err = consumer.Consume(func(m jetstream.Msg) {
		if m.Subject() != floorRelay {
			return
		}
		if _, err := js.PublishAsync(floorSaid, m.Data()); err != nil {
			fmt.Fprintln(os.Stderr, "floor: message not passed on:", err) // The driver misses it and fails.
		}
	}, jetstream.PullMaxMessages(floorInFlightMax))
	return err
}
