package emit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
)

func ids(messages []*message.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, m.UUID)
	}
	return strings.Join(all, " ")
}

func answered(m *message.Message) string {
	select {
	case <-m.Acked():
		return "ack"
	case <-m.Nacked():
		return "nack"
	default:
		return "none"
	}
}

// What arrives while a pack is with the reader makes the next one. A Nack gives
// everything back, and the next pack holds one message alone.
func TestAPackHoldsWhatArrivedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		arriving, packs := make(chan *message.Message), make(chan *message.Message)
		done := make(chan struct{})
		go func() {
			pack(ctx, context.Background(), arriving, packs)
			close(done)
		}()
		var all []*message.Message
		arrive := func(n int) {
			for range n {
				m := message.NewMessage(fmt.Sprint(len(all)+1), nil)
				all = append(all, m)
				arriving <- m
			}
			synctest.Wait()
		}
		take := func(want string) *message.Message {
			t.Helper()
			p := <-packs
			if got := ids(packOf(p)); got != want {
				t.Fatalf("pack of %s, want %s", got, want)
			}
			return p
		}
		arrive(1)
		first := take("1")
		arrive(3)
		first.Ack()
		second := take("2 3 4")
		arrive(2)
		second.Nack()
		synctest.Wait()
		for i, want := range []string{"ack", "nack", "nack", "nack", "nack", "nack"} {
			if got := answered(all[i]); got != want {
				t.Errorf("message %d: %s, want %s", i+1, got, want)
			}
		}
		again := all[1:]
		all = slices.Clone(all[:1])
		arrive(len(again)) // as 2 3 4 5 6
		take("2").Ack()
		take("3 4").Ack()
		last := take("5 6")
		arrive(1)
		cancel()
		synctest.Wait()
		if got := answered(all[6]); got != "nack" {
			t.Errorf("what waits at the end: %s, want it given back", got)
		}
		last.Ack()
		synctest.Wait()
		if got := answered(all[5]); got != "ack" {
			t.Errorf("what the reader had in hand at the end: %s", got)
		}
		close(arriving)
		<-done
	})
}
