package stream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// customerOf returns a customer number whose partition is the given one of two.
func customerOf(t testing.TB, partition charge.Partition) int {
	t.Helper()
	for i := range 1000 {
		m, err := charge.ParseMSISDN(fmt.Sprintf("213770%06d", i))
		if err != nil {
			t.Fatal(err)
		}
		if m.Slot().PartitionOf(2) == partition {
			return i
		}
	}
	t.Fatal("no such customer")
	return 0
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// recharges sends n recharges of 350 to a customer of each partition and waits
// until they have taken effect.
func recharges(t testing.TB, p *Processor, label string, n int) {
	t.Helper()
	for i := range n {
		for id := range charge.Partition(2) {
			send(t, p, rechargeJSON(fmt.Sprintf("%s-%d-%d", label, id, i), customerOf(t, id), "350"))
		}
	}
	settled(t, p)
}

func wantBoth(t testing.TB, p *Processor, want int64) {
	t.Helper()
	for id := range charge.Partition(2) {
		if got := total(t, p, customerOf(t, id), "main"); got != want {
			t.Errorf("partition %d: main %d, want %d", id, got, want)
		}
	}
}

func TestStateIsBuiltAgainFromTheCommitLogs(t *testing.T) {
	dir := t.TempDir()
	p := startProcessor(t, dir, nil)
	recharges(t, p, "a", 5)
	p.Stop(context.Background())
	old := filepath.Join(t.TempDir(), "old")
	copyTree(t, filepath.Join(dir, "state"), old)

	p = startProcessor(t, dir, nil)
	recharges(t, p, "b", 5)
	p.Stop(context.Background())

	for name, lose := range map[string]func(){
		"all of it": func() {
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
		},
		"what came after a backup": func() { copyTree(t, old, filepath.Join(dir, "state")) },
	} {
		lose()
		p = startProcessor(t, dir, nil)
		wantBoth(t, p, 10*35000)
		recharges(t, p, "a", 5) // They came before: no effect.
		wantBoth(t, p, 10*35000)
		if _, imbalance, _ := p.totals(); !imbalanceIsZero(p) {
			t.Errorf("after losing %s: imbalance %v", name, imbalance)
		}
		p.Stop(context.Background())
	}
}

func imbalanceIsZero(p *Processor) bool {
	_, imbalance, _ := p.totals()
	for _, sum := range imbalance {
		if !sum.IsZero() {
			return false
		}
	}
	return len(imbalance) > 0
}

// tamper opens the embedded server on its own and lets change do something to
// the streams behind the processor's back.
func tamper(t testing.TB, dir string, change func(ctx context.Context, js jetstream.JetStream) error) {
	t.Helper()
	server, err := journal.StartServer(journal.ServerOptions{Dir: filepath.Join(dir, "logs")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	nc, err := server.Core()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := change(t.Context(), js); err != nil {
		t.Fatal(err)
	}
}

// A log that is not the one the state knows halts its partition, says so, and
// changes nothing; the other partition goes on.
func TestALogThatDoesNotContinueHaltsItsPartition(t *testing.T) {
	streams := []string{"recharged_in_0", "recharged_tx_0"}
	for _, stream := range streams {
		for name, change := range map[string]func(ctx context.Context, js jetstream.JetStream) error{
			"deleted": func(ctx context.Context, js jetstream.JetStream) error {
				return js.DeleteStream(ctx, stream)
			},
			"recreated": func(ctx context.Context, js jetstream.JetStream) error {
				s, err := js.Stream(ctx, stream)
				if err != nil {
					return err
				}
				config := s.CachedInfo().Config
				if err := js.DeleteStream(ctx, stream); err != nil {
					return err
				}
				_, err = js.CreateStream(ctx, config)
				for err != nil && strings.Contains(err.Error(), "error creating store") && ctx.Err() == nil {
					_, err = js.CreateStream(ctx, config) // The files of the old one are still being put away.
				}
				return err
			},
		} {
			t.Run(stream+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				p := startProcessor(t, dir, nil)
				recharges(t, p, "a", 3)
				p.Stop(context.Background())
				tamper(t, dir, change)
				wantHalted(t, dir)
			})
		}
	}
}

func wantHalted(t *testing.T, dir string) {
	t.Helper()
	p := startProcessor(t, dir, nil)
	status := p.Status().Partitions
	if status[0].State != Halted || !strings.Contains(status[0].Reason, "recharged_") {
		t.Fatalf("partition 0 is %s: %s", status[0].State, status[0].Reason)
	}
	t.Logf("it says: %s", status[0].Reason)
	if status[1].State != Running {
		t.Fatalf("partition 1 is %s: %s", status[1].State, status[1].Reason)
	}
	b := p.Gateway().NewBatch()
	b.Decode(0, []byte(rechargeJSON("new", customerOf(t, 0), "350")))
	if verdict, err := p.Gateway().Accept(t.Context(), b); err == nil {
		t.Errorf("the halted partition accepted: %+v", verdict)
	}
	send(t, p, rechargeJSON("new", customerOf(t, 1), "350"))
	waitFor(t, "the other partition", func() bool { return p.Status().Partitions[1].Lag == 0 })
	if got := total(t, p, customerOf(t, 1), "main"); got != 4*35000 {
		t.Errorf("partition 1: main %d, want %d", got, 4*35000)
	}
	if got := total(t, p, customerOf(t, 0), "main"); got != 3*35000 {
		t.Errorf("partition 0: main %d, want it untouched at %d", got, 3*35000)
	}
}

// The oldest trap: an older copy of the logs under a newer state. The log would
// give its numbers out again, and events would be taken for read.
func TestLogsRolledBackUnderTheState(t *testing.T) {
	dir := t.TempDir()
	p := startProcessor(t, dir, nil)
	recharges(t, p, "a", 2)
	p.Stop(context.Background())
	old := filepath.Join(t.TempDir(), "logs")
	copyTree(t, filepath.Join(dir, "logs"), old)
	p = startProcessor(t, dir, nil)
	recharges(t, p, "b", 2)
	p.Stop(context.Background())
	copyTree(t, old, filepath.Join(dir, "logs"))

	p = startProcessor(t, dir, nil)
	for _, s := range p.Status().Partitions {
		if s.State != Halted || !strings.Contains(s.Reason, "rolled") {
			t.Errorf("partition %d is %s: %s", s.ID, s.State, s.Reason)
		}
	}
	if p.Ready() == nil {
		t.Error("ready with every partition halted")
	}
}

// Two processes own one set of logs, one after the other: the older one's
// commits are refused, and it stops by itself.
func TestANewOwnerFencesTheOldOne(t *testing.T) {
	url := externalNATS(t)
	elsewhere := func(o *Options) { o.NATSURL = url }
	first := startProcessor(t, t.TempDir(), elsewhere)
	recharges(t, first, "a", 3)
	second := startProcessor(t, t.TempDir(), elsewhere)
	wantBoth(t, second, 3*35000) // folded from the commit logs alone
	for id := range charge.Partition(2) {
		send(t, second, rechargeJSON(fmt.Sprintf("b-%d", id), customerOf(t, id), "350"))
	}
	settled(t, second)
	wantBoth(t, second, 4*35000)
	waitFor(t, "the first owner to find out", func() bool {
		for _, s := range first.Status().Partitions {
			if s.State != Halted {
				return false
			}
		}
		return true
	})
	wantBoth(t, second, 4*35000)
	if !imbalanceIsZero(second) {
		t.Error("the ledger does not balance")
	}
}

// externalNATS runs a NATS server that is not ours, and returns its address.
func externalNATS(t testing.TB) string {
	t.Helper()
	return runNATS(t, &server.Options{
		ServerName: "elsewhere", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true,
	}).ClientURL()
}

// runNATS runs a NATS server until the test ends.
func runNATS(t testing.TB, opts *server.Options) *server.Server {
	t.Helper()
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return ns
}
