package emit

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// packer is a Subscriber whose messages are packs: each holds all that has
// arrived while the pack before was with the reader, in its order. So a reader
// that takes its time gets more at once, and a lone message does not wait. The
// reader answers for the whole pack; one pack is with it at a time.
//
// Window bounds a pack. After a Nack the packs begin again with one message, so
// that one which can never be handled holds up nothing before it.
type packer struct{ *Subscriber }

type packKey struct{}

// packOf returns the messages of a pack.
func packOf(pack *message.Message) []*message.Message {
	members, _ := pack.Context().Value(packKey{}).([]*message.Message)
	return members
}

// newPack makes a pack. It lives as long as its first member may be worked on.
func newPack(members []*message.Message) *message.Message {
	pack := message.NewMessage(members[0].UUID, nil)
	pack.SetContext(context.WithValue(members[0].Context(), packKey{}, members))
	return pack
}

// Subscribe returns the topic's messages in packs.
func (p packer) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	arriving, err := p.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	packs := make(chan *message.Message)
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		defer close(packs)
		pack(ctx, p.closing, arriving, packs)
	}()
	return packs, nil
}

// pack gathers messages and hands them over in packs until arriving is closed,
// which happens when the subscription has ended and all were answered.
func pack(ctx, closing context.Context, arriving <-chan *message.Message, packs chan<- *message.Message) {
	var waiting []*message.Message // arrived, not with the reader
	var out *message.Message       // the pack that is with the reader, who may change its context …
	var members []*message.Message // … so these are kept beside it
	limit := packMax
	ending, closed, ended := ctx.Done(), closing.Done(), false
	for {
		var next *message.Message
		var to chan<- *message.Message
		var acked, nacked <-chan struct{}
		if out != nil {
			acked, nacked = out.Acked(), out.Nacked()
		} else if len(waiting) > 0 {
			next, to = newPack(waiting[:min(limit, len(waiting))]), packs
		}
		select {
		case m, open := <-arriving:
			if !open {
				return
			}
			waiting = append(waiting, m)
			if ended {
				waiting = giveBack(waiting)
			}
		case to <- next:
			n := min(limit, len(waiting))
			out, members, waiting = next, waiting[:n:n], waiting[n:]
		case <-acked:
			for _, m := range members {
				m.Ack()
			}
			out, limit = nil, min(2*limit, packMax)
		case <-nacked:
			// What arrived behind the pack comes again behind it.
			giveBack(members)
			out, waiting, limit = nil, giveBack(waiting), 1
		case <-ending:
			ending, ended, waiting = nil, true, giveBack(waiting)
		case <-closed:
			closed, ended, waiting = nil, true, giveBack(waiting)
		}
	}
}

// giveBack answers for messages that nobody will work on now.
func giveBack(messages []*message.Message) []*message.Message {
	for _, m := range messages {
		m.Nack()
	}
	return nil
}
