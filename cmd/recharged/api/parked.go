package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"recharged/state/charge"
	"recharged/stream"
)

func (a *API) registerParked() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-parked", Method: http.MethodGet, Path: "/v1/parked", Tags: []string{"parked events"},
		Summary: "Events that were set aside, and why", Security: needs(Read),
	}, a.listParked)
	const effect = "Answers when the order is durable; it takes effect in the order of the log, as an event does."
	huma.Register(a.huma, huma.Operation{
		OperationID: "retry-parked", Method: http.MethodPost, Path: "/v1/parked/{id}/retry", Tags: []string{"parked events"},
		Summary: "Have a parked event judged again", Description: effect,
		Security: needs(Operate), DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *parkedInput) (*struct{}, error) {
		return nil, a.orderParked(ctx, in.ID, a.processor.RetryParked)
	})
	huma.Register(a.huma, huma.Operation{
		OperationID: "discard-parked", Method: http.MethodDelete, Path: "/v1/parked/{id}", Tags: []string{"parked events"},
		Summary: "Drop a parked event", Description: effect,
		Security: needs(Operate), DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *parkedInput) (*struct{}, error) {
		return nil, a.orderParked(ctx, in.ID, a.processor.DiscardParked)
	})
}

type parkedInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (a *API) orderParked(ctx context.Context, id string, order func(context.Context, string) error) error {
	err := order(ctx, id)
	switch {
	case errors.Is(err, stream.ErrNotParked):
		return huma.NewError(http.StatusNotFound, "no event is parked under this id; GET /v1/parked lists them")
	case err != nil:
		return a.failed(ctx, "ordering this", err)
	}
	return nil
}

// parkedEvent is a Parked as the server writes it.
type parkedEvent struct {
	ID     string          `json:"id"`
	Event  Raw[CloudEvent] `json:"event"`
	Reason string          `json:"reason"`
	Detail string          `json:"detail"`
	At     string          `json:"at" format:"date-time" doc:"When it was parked."`
}

type parkedOutput struct {
	Body struct {
		Parked []parkedEvent `json:"parked"`
		Next   string        `json:"next" doc:"Where the next page begins; empty at the end."`
	}
}

func (a *API) listParked(ctx context.Context, in *Page) (*parkedOutput, error) {
	parked, err := a.processor.Parked(in.Before, in.limit()+1)
	if err != nil {
		return nil, a.badPage(ctx, "reading the parked events", err)
	}
	out := &parkedOutput{}
	out.Body.Parked = []parkedEvent{}
	if len(parked) > in.limit() {
		parked = parked[:in.limit()]
		out.Body.Next = stream.ParkedID(&parked[len(parked)-1])
	}
	for i := range parked {
		p := &parked[i]
		out.Body.Parked = append(out.Body.Parked, parkedEvent{
			ID: stream.ParkedID(p), Event: charge.AppendEventJSON(nil, &p.Event),
			Reason: string(p.Reason), Detail: p.Detail, At: timeText(p.At),
		})
	}
	return out, nil
}
