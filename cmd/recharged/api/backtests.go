package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"recharged/rules"
	"recharged/state/charge"
	"recharged/stream"
	"recharged/stream/backtest"
)

// BacktestOrder asks for a backtest.
type BacktestOrder struct {
	Rulebook string     `json:"rulebook" minLength:"1" doc:"The draft, as YAML or JSON text."`
	From     *time.Time `json:"from,omitempty" doc:"What was accepted from then on counts. Absent: from the beginning of the logs."`
	To       *time.Time `json:"to,omitempty" doc:"What was accepted before then counts. Absent: all there is now."`
}

// BacktestStarted is the answer to an order.
type BacktestStarted struct {
	ID string `json:"id"`
}

// Backtest is how a backtest is doing, and what came of it.
type Backtest struct {
	ID       string           `json:"id"`
	State    string           `json:"state" enum:"running,done,failed,cancelled"`
	Progress float64          `json:"progress" minimum:"0" maximum:"1"`
	Events   uint64           `json:"events" doc:"That were replayed so far, those before the window included."`
	Rate     float64          `json:"events_per_second"`
	Seconds  float64          `json:"seconds_left" doc:"About, while it runs."`
	Draft    string           `json:"draft" doc:"Digest of the draft."`
	From     string           `json:"from,omitempty" format:"date-time"`
	To       string           `json:"to,omitempty" format:"date-time"`
	Begun    string           `json:"begun" format:"date-time"`
	Ended    string           `json:"ended,omitempty" format:"date-time"`
	Error    string           `json:"error,omitempty" doc:"Why it failed."`
	Result   *backtest.Result `json:"result,omitempty" doc:"Once it is done; not in lists."`
}

func (a *API) registerBacktests() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "start-backtest", Method: http.MethodPost, Path: "/v1/backtests", Tags: []string{"backtests"},
		Summary: "Replay the past under a draft of the rulebook",
		Description: "Judges all that was accepted in a time once more, by the draft and by the rulebooks that were in force, and compares. " +
			"It changes nothing and works beside the live partitions. One backtest runs at a time; the last 16 are kept until the program stops. " +
			"What customers would have done otherwise nobody knows: they do in it what they did.",
		Security: needs(Rules), DefaultStatus: http.StatusAccepted, MaxBodyBytes: 2 * rulebookBytesMax,
		Errors: []int{http.StatusConflict, http.StatusServiceUnavailable},
	}, a.startBacktest)
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-backtests", Method: http.MethodGet, Path: "/v1/backtests", Tags: []string{"backtests"},
		Summary: "The backtests of this process, newest first", Security: needs(Read, Rules),
	}, a.listBacktests)
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-backtest", Method: http.MethodGet, Path: "/v1/backtests/{id}", Tags: []string{"backtests"},
		Summary: "How a backtest is doing, and what came of it", Security: needs(Read, Rules), Errors: []int{http.StatusNotFound},
	}, a.getBacktest)
	huma.Register(a.huma, huma.Operation{
		OperationID: "cancel-backtest", Method: http.MethodDelete, Path: "/v1/backtests/{id}", Tags: []string{"backtests"},
		Summary: "End a backtest", Description: "One that has ended stays as it is.",
		Security: needs(Rules), DefaultStatus: http.StatusAccepted, Errors: []int{http.StatusNotFound},
	}, a.cancelBacktest)
}

type backtestOrderInput struct{ Body BacktestOrder }

type backtestStartedOutput struct {
	Location string `header:"Location"`
	Body     BacktestStarted
}

func (a *API) startBacktest(ctx context.Context, in *backtestOrderInput) (*backtestStartedOutput, error) {
	from, err := windowEnd("from", in.Body.From)
	if err != nil {
		return nil, err
	}
	to, err := windowEnd("to", in.Body.To)
	if err != nil {
		return nil, err
	}
	if from != 0 && to != 0 && from >= to {
		return nil, huma.NewError(http.StatusUnprocessableEntity, "from must be before to",
			&huma.ErrorDetail{Location: "body.from", Message: "is not before to"})
	}
	draft, problems := rules.Load(rules.File{Name: DraftName, Data: []byte(in.Body.Rulebook)})
	if draft == nil {
		return nil, broken(problems)
	}
	id, err := a.processor.StartBacktest(draft, from, to)
	switch {
	case errors.Is(err, stream.ErrBacktestRunning), errors.Is(err, stream.ErrHeld):
		return nil, huma.NewError(http.StatusConflict, err.Error())
	case errors.Is(err, stream.ErrStopping):
		return nil, huma.NewError(http.StatusServiceUnavailable, err.Error())
	case err != nil:
		return nil, a.failed(ctx, "starting the backtest", err)
	}
	return &backtestStartedOutput{Location: "/v1/backtests/" + id, Body: BacktestStarted{id}}, nil
}

// windowEnd reads one end of a window; zero: it is open.
func windowEnd(name string, at *time.Time) (charge.Instant, error) {
	if at == nil {
		return 0, nil
	}
	i, ok := charge.InstantOf(*at)
	if !ok || i <= 0 {
		return 0, huma.NewError(http.StatusUnprocessableEntity, name+" is a time that no event has",
			&huma.ErrorDetail{Location: "body." + name, Message: "is beyond what is stored", Value: at.Format(time.RFC3339)})
	}
	return i, nil
}

type backtestListOutput struct {
	Body struct {
		Backtests []Backtest `json:"backtests"`
	}
}

func (a *API) listBacktests(context.Context, *struct{}) (*backtestListOutput, error) {
	out := &backtestListOutput{}
	out.Body.Backtests = []Backtest{}
	for _, b := range a.processor.Backtests() {
		out.Body.Backtests = append(out.Body.Backtests, describeBacktest(&b))
	}
	return out, nil
}

type backtestInput struct {
	ID string `path:"id" maxLength:"32"`
}

type backtestOutput struct{ Body Backtest }

func (a *API) getBacktest(_ context.Context, in *backtestInput) (*backtestOutput, error) {
	b, err := a.processor.Backtest(in.ID)
	if err != nil {
		return nil, huma.NewError(http.StatusNotFound, err.Error())
	}
	return &backtestOutput{describeBacktest(&b)}, nil
}

func (a *API) cancelBacktest(_ context.Context, in *backtestInput) (*struct{}, error) {
	if err := a.processor.CancelBacktest(in.ID); err != nil {
		return nil, huma.NewError(http.StatusNotFound, err.Error())
	}
	return nil, nil
}

func describeBacktest(b *stream.Backtest) Backtest {
	shown := Backtest{
		ID: b.ID, State: string(b.State), Progress: math.Floor(b.Progress()*1e4) / 1e4, Events: b.Events,
		Rate: math.Round(b.Rate()), Seconds: math.Ceil(b.Rest().Seconds()), Draft: b.Draft,
		Begun: b.Begun.UTC().Format(time.RFC3339Nano), Error: b.Error, Result: b.Result,
	}
	if b.From != 0 {
		shown.From = timeText(b.From)
	}
	if b.To != 0 {
		shown.To = timeText(b.To)
	}
	if !b.Ended.IsZero() {
		shown.Ended = b.Ended.UTC().Format(time.RFC3339Nano)
	}
	return shown
}
