package api

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// What goes over the wire. The types describe it in the OpenAPI document, and
// clients in Go read answers with them; what the core has its own writers for
// is written by these and passed on as Raw.

// Raw is JSON that was written elsewhere and has the shape of a T.
type Raw[T any] []byte

// MarshalJSON returns the JSON.
func (r Raw[T]) MarshalJSON() ([]byte, error) { return r, nil }

// Schema describes the JSON as a T.
func (Raw[T]) Schema(registry huma.Registry) *huma.Schema { return schemaOf[T](registry) }

func schemaOf[T any](registry huma.Registry) *huma.Schema {
	t := reflect.TypeFor[T]()
	return registry.Schema(t, true, t.Name())
}

// Customer is all that is known of one.
type Customer struct {
	MSISDN       string             `json:"msisdn" example:"213770123456"`
	Balances     map[string]Balance `json:"balances" doc:"By name: every balance that the rulebook declares."`
	Counters     map[string]any     `json:"counters" doc:"By name, at present: counts as numbers, sums of money as exact strings."`
	Segments     []string           `json:"segments" doc:"That the customer is in at present."`
	Tags         []string           `json:"tags"`
	Attributes   map[string]any     `json:"attributes"`
	Recharges    int64              `json:"recharges" doc:"How many, ever."`
	LastRecharge string             `json:"last_recharge,omitempty" format:"date-time"`
	Tracking     int64              `json:"tracking" minimum:"0" maximum:"70" doc:"70 on the day of a recharge, falling to 0 at day 120."`
}

// Balance is what a customer holds under one name.
type Balance struct {
	Unit   string `json:"unit" example:"DZD"`
	Amount string `json:"amount" example:"410.00" doc:"The sum of the parts."`
	Parts  []Part `json:"parts" doc:"In the order in which they expire."`
}

// Part is a share of a balance.
type Part struct {
	Amount  string `json:"amount" example:"350.00"`
	Expires string `json:"expires,omitempty" format:"date-time" doc:"Absent: never."`
}

// Outcome is what one accepted event did.
type Outcome struct {
	Event     string       `json:"event" doc:"Its id."`
	Source    string       `json:"source"`
	Type      string       `json:"type" example:"recharge"`
	MSISDN    string       `json:"msisdn"`
	Time      string       `json:"time" format:"date-time" doc:"When it happened."`
	Result    string       `json:"result" enum:"applied,duplicate,parked"`
	Reason    string       `json:"reason,omitempty" doc:"Why it is parked."`
	Detail    string       `json:"detail,omitempty"`
	Rulebook  uint64       `json:"rulebook" doc:"The version that judged it."`
	Postings  []Posting    `json:"postings"`
	Rules     []RuleResult `json:"rules" doc:"The rules whose conditions held."`
	Shortfall string       `json:"shortfall" example:"0.00"`
}

// Posting is a credit or debit of a balance.
type Posting struct {
	Balance string `json:"balance"`
	Amount  string `json:"amount" example:"350.00"`
	Cause   string `json:"cause" doc:"recharge, usage, adjustment, expiry, or the rule's name."`
	Expires string `json:"expires,omitempty" format:"date-time"`
	After   string `json:"after" doc:"What the balance was worth afterwards."`
}

// RuleResult is what became of a rule whose condition held.
type RuleResult struct {
	Name   string `json:"name"`
	Result string `json:"result" enum:"applied,skipped"`
	Reason string `json:"reason,omitempty" enum:"limit,budget,group,holdout,suspended,error"`
	Detail string `json:"detail,omitempty"`
}

// Timeline is a page of outcomes, as a client reads it.
type Timeline struct {
	Outcomes []Outcome `json:"outcomes"`
	Next     string    `json:"next"`
}

// Alert is something that people in operations should know.
type Alert struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Severity string            `json:"severity"`
	Summary  string            `json:"summary"`
	Labels   map[string]string `json:"labels"`
	StartsAt string            `json:"starts_at" format:"date-time"`
	EndsAt   string            `json:"ends_at,omitempty" format:"date-time"`
}

// CloudEvent is an event as its producer sent it.
type CloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        string          `json:"time" format:"date-time"`
	Data        json.RawMessage `json:"data,omitempty"`
}

// Parked is an event that was set aside, as a client reads it.
type Parked struct {
	ID     string     `json:"id"`
	Event  CloudEvent `json:"event"`
	Reason string     `json:"reason"`
	Detail string     `json:"detail"`
	At     string     `json:"at"`
}

// Problem is a fault of a rulebook.
type Problem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Severity string `json:"severity" enum:"warning,error"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
}

// Version is a published version of the rulebook.
type Version struct {
	Version uint64   `json:"version"`
	At      string   `json:"at" format:"date-time"`
	Author  string   `json:"author"`
	Digest  string   `json:"digest"`
	Changes []string `json:"changes" doc:"Since the version before, in words."`
}

// Published is the answer to a publication.
type Published struct {
	Version  uint64    `json:"version"`
	Digest   string    `json:"digest"`
	Changes  []string  `json:"changes" doc:"Since the version before, in words."`
	Problems []Problem `json:"problems" doc:"Warnings only."`
}

// Status is how the processor is doing.
type Status struct {
	Version    string            `json:"version" doc:"Of this program."`
	Rulebook   uint64            `json:"rulebook" doc:"The newest version."`
	Ready      bool              `json:"ready"`
	Reason     string            `json:"reason,omitempty" doc:"Why it is not ready."`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is how one partition is doing.
type PartitionStatus struct {
	ID         int     `json:"id"`
	State      string  `json:"state" example:"running"`
	Reason     string  `json:"reason,omitempty"`
	Accepted   uint64  `json:"accepted"`
	Applied    uint64  `json:"applied"`
	Lag        uint64  `json:"lag" doc:"0 everywhere: all that was accepted has taken effect."`
	LagSeconds float64 `json:"lag_seconds"`
	Rulebook   uint64  `json:"rulebook" doc:"The version in force."`
	Owner      string  `json:"owner"`
}

// Rates is how fast it goes, in events per second.
type Rates struct {
	At       string  `json:"at" format:"date-time"`
	Accepted float64 `json:"accepted" doc:"Events accepted per second."`
	Applied  float64 `json:"applied" doc:"Events that took effect per second."`
	Lag      uint64  `json:"lag"`
}
