package emit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"recharged/state/charge"
	"recharged/stream/journal"
)

// letterSink delivers the letters of a commit: each becomes a frame of its own in
// its receiver's event log. A letter that is delivered again, after the server
// has forgotten its id, is there twice with the same number, and its receiver
// passes over it. What it could not pass over is a letter ahead of the one
// before; so a letter is sent when the one before it to the same receiver is
// durable.
//
// Receivers do not wait for each other within a pack. A receiver that cannot be
// delivered to holds up what comes behind the pack for all.
var letterSink = sink{
	name: Letters,
	outputs: func(c *journal.Commit, _ charge.Sequence) []output {
		return outputsOf(c.Letters, func(data []byte, _ int, l *journal.Letter) ([]byte, output) {
			frame := journal.Frame{Kind: journal.FrameLetter, From: c.Partition, Number: l.Number, Body: l.Body}
			return frame.Append(data), output{to: l.To, id: LetterID(c.Partition, l.To, l.Number)}
		})
	},
}

// LetterID is the id of a letter from one partition to another: that of its
// record in the event log.
func LetterID(from, to charge.Partition, number uint64) string {
	id := make([]byte, 0, 40)
	id = append(id, "letter-"...)
	id = strconv.AppendUint(id, uint64(from), 10)
	id = append(id, '-')
	id = strconv.AppendUint(id, uint64(to), 10)
	id = append(id, '-')
	return string(strconv.AppendUint(id, number, 10))
}

// postman appends letters to event logs. It is a sender.
type postman struct {
	logs       func(p charge.Partition) *journal.Log
	partitions int
}

// sendAll appends the letters of each receiver in their order, to all receivers
// at once, and waits for all. It returns the first error of each receiver.
func (p postman) sendAll(ctx context.Context, letters []output, published func(i int, result string)) error {
	routes := make(map[charge.Partition][]int) // indexes
	for i := range letters {
		to := letters[i].to
		if int(to) >= p.partitions {
			return fmt.Errorf("deliver %s: there are %d partitions", letters[i].id, p.partitions)
		}
		routes[to] = append(routes[to], i)
	}
	var (
		delivering sync.WaitGroup
		mu         sync.Mutex // guards faults and the calls of published
		faults     []error
	)
	for to, route := range routes {
		delivering.Go(func() {
			for _, i := range route {
				_, err := p.logs(to).Append(ctx, letters[i].data, letters[i].id)
				mu.Lock()
				if err != nil {
					published(i, ResultFailed)
					faults = append(faults, fmt.Errorf("deliver %s: %w", letters[i].id, err))
				} else {
					published(i, ResultSent)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	delivering.Wait()
	return errors.Join(faults...)
}
