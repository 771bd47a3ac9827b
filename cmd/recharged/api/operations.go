package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"recharged/stream"
)

func (a *API) registerOperations() {
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-alerts", Method: http.MethodGet, Path: "/v1/alerts", Tags: []string{"operations"},
		Summary: "Alerts that were raised, newest first", Security: needs(Read),
	}, a.listAlerts)
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-status", Method: http.MethodGet, Path: "/v1/status", Tags: []string{"operations"},
		Summary: "How the processor is doing", Security: needs(Read),
	}, a.getStatus)
	huma.Register(a.huma, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/healthz", Tags: []string{"operations"},
		Summary: "Whether the program is alive", Security: open(), Metadata: always(),
	}, func(context.Context, *struct{}) (*stateOutput, error) { return &stateOutput{stateBody{"alive"}}, nil })
	huma.Register(a.huma, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: "/readyz", Tags: []string{"operations"},
		Summary:  "Whether it accepts events and has caught up, and which partitions are halted nevertheless",
		Security: open(), Errors: []int{http.StatusServiceUnavailable},
	}, a.getReady)
	metrics := promhttp.HandlerFor(a.opts.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	a.handle(&huma.Operation{
		OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"operations"},
		Summary: "Metrics for Prometheus", Security: needs(Read), Metadata: always(),
		Responses: map[string]*huma.Response{
			"200": response("The metrics, in the form that Accept asks for.", map[string]*huma.MediaType{
				"text/plain": text, "application/openmetrics-text": text,
				"application/vnd.google.protobuf": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			}),
		},
	}, metrics.ServeHTTP)
	a.handle(&huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: "/openapi.json", Tags: []string{"operations"},
		Summary: "This document", Security: open(), Metadata: always(),
		Responses: map[string]*huma.Response{
			"200": response("An OpenAPI 3.1 document.", map[string]*huma.MediaType{typeJSON: {Schema: &huma.Schema{Type: huma.TypeObject}}}),
		},
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.Write(a.document)
	})
}

type stateBody struct {
	Status string `json:"status"`
}

type stateOutput struct{ Body stateBody }

type readyOutput struct {
	Body struct {
		Status string `json:"status"`
		Halted []int  `json:"halted,omitempty" doc:"Partitions that wait for a person, while the others accept."`
	}
}

func (a *API) getReady(context.Context, *struct{}) (*readyOutput, error) {
	if err := a.processor.Ready(); err != nil {
		return nil, huma.ErrorWithHeaders(huma.NewError(http.StatusServiceUnavailable, err.Error()), http.Header{"Retry-After": {"1"}})
	}
	out := &readyOutput{}
	out.Body.Status, out.Body.Halted = "ready", haltedOf(a.processor.Status())
	return out, nil
}

// haltedOf lists the partitions that are halted.
func haltedOf(status stream.Status) []int {
	var halted []int
	for _, s := range status.Partitions {
		if s.State == stream.Halted {
			halted = append(halted, int(s.ID))
		}
	}
	return halted
}

type statusOutput struct{ Body Status }

func (a *API) getStatus(context.Context, *struct{}) (*statusOutput, error) {
	status := a.processor.Status()
	out := &statusOutput{Status{Version: a.opts.Version, Rulebook: status.Rulebook, Ready: true, Partitions: []PartitionStatus{}}}
	if err := a.processor.Ready(); err != nil {
		out.Body.Ready, out.Body.Reason = false, err.Error()
	}
	for _, s := range status.Partitions {
		out.Body.Partitions = append(out.Body.Partitions, PartitionStatus{
			ID: int(s.ID), State: fmt.Sprint(s.State), Reason: s.Reason, Owner: s.Owner, Rulebook: s.Rulebook,
			Accepted: s.Accepted, Applied: s.Applied, Lag: s.Lag, LagSeconds: s.LagTime.Seconds(),
		})
	}
	return out, nil
}

type alertsOutput struct {
	Body struct {
		Alerts []Raw[Alert] `json:"alerts"`
		Next   string       `json:"next" doc:"Where the next page begins; empty at the end."`
	}
}

func (a *API) listAlerts(ctx context.Context, in *Page) (*alertsOutput, error) {
	entries, err := a.processor.Alerts(ctx, in.Before, in.limit()+1)
	if err != nil {
		return nil, a.badPage(ctx, "reading the alerts", err)
	}
	out := &alertsOutput{}
	out.Body.Alerts = []Raw[Alert]{}
	if len(entries) > in.limit() {
		entries = entries[:in.limit()]
		out.Body.Next = entries[len(entries)-1].Ref
	}
	for _, entry := range entries {
		alert, err := unwrapAlert(entry.Event)
		if err != nil {
			return nil, a.failed(ctx, "reading the alerts", err)
		}
		out.Body.Alerts = append(out.Body.Alerts, alert)
	}
	return out, nil
}

// unwrapAlert returns the data of an alert's CloudEvent, with its id.
func unwrapAlert(event []byte) (Raw[Alert], error) {
	var e struct {
		ID   string         `json:"id"`
		Data jsontext.Value `json:"data"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("read alert event: %w", err)
	}
	if len(e.Data) < len("{}") || e.Data.Kind() != '{' {
		return nil, fmt.Errorf("alert event %s has no data", e.ID)
	}
	alert, err := jsontext.AppendQuote([]byte(`{"id":`), e.ID)
	if err != nil {
		return nil, fmt.Errorf("alert event id: %w", err)
	}
	if len(e.Data) > len("{}") {
		alert = append(alert, ',')
	}
	return append(alert, e.Data[1:]...), nil
}
