package journal

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"recharged/state/charge"
	"recharged/state/money"
)

func someCommits() []Commit {
	msisdn, _ := charge.ParseMSISDN("213770123456")
	dzd := money.Unit{Name: "DZD", Digits: 2}
	return []Commit{
		{Kind: CommitTurn},
		{Kind: CommitClaim, Partition: 1023, Epoch: 9, Node: "n2", Previous: [32]byte{1, 31: 2}, From: charge.Position{Sequence: 5, Offset: 6}, To: charge.Position{Sequence: 5, Offset: 6}},
		{
			Kind: CommitTurn, Partition: 3, Epoch: 1 << 60, Node: "recharged", Previous: [32]byte{9},
			From: charge.Position{Sequence: 41, Offset: 7}, To: charge.Position{Sequence: 43},
			Read:  Anchor{Created: 1, Sequence: 42, Stamp: 1_790_000_000_000_000_000, Hash: [16]byte{4}},
			Clock: 1_790_000_000_000_000_001, Rulebook: 7,
			Outcomes: []charge.Outcome{
				{EventID: "a", Source: "/ussd-gw/1", Type: charge.Recharge, MSISDN: msisdn, Time: 5, Accepted: 6, Result: charge.Applied, Rulebook: 7, Money: dzd, Amount: 35000},
				{EventID: "b", Source: "/ussd-gw/1", Type: charge.Usage, MSISDN: msisdn, Time: 5, Accepted: 6, Result: charge.Duplicate, Money: dzd},
			},
			Notifications: []charge.Notification{{MSISDN: msisdn, EventID: "a", Source: "/ussd-gw/1", Rule: "double-300", Channel: "sms", Text: "شكرا", Time: 6}},
			Alerts:        []charge.Alert{{Name: "velocity", Severity: "warning", Summary: "s", Labels: []charge.Label{{Name: "a", Value: "b"}}, StartsAt: 6}},
			Delta:         []byte{0, 1, 2, 3},
			Letters:       []Letter{{To: 3, Number: 1, Body: []byte("to oneself")}, {To: 1023, Number: 1 << 40, Body: []byte{0}}},
		},
	}
}

// normal makes an empty delta nil, so that two commits compare.
func normal(c Commit) Commit {
	if len(c.Delta) == 0 {
		c.Delta = nil
	}
	return c
}

func TestCommitRoundTrip(t *testing.T) {
	for i, c := range someCommits() {
		data := c.Append([]byte("before"))
		data = data[len("before"):]
		got, err := DecodeCommit(data)
		if err != nil || !reflect.DeepEqual(normal(got), c) {
			t.Errorf("commit %d:\n%+v became\n%+v, %v", i, c, got, err)
		}
		if _, err := DecodeCommit(append(bytes.Clone(data), 0)); err == nil {
			t.Errorf("commit %d: a tail was accepted", i)
		}
		for n := range data {
			if _, err := DecodeCommit(data[:n]); err == nil {
				t.Errorf("commit %d: %d of %d bytes were accepted", i, n, len(data))
			}
		}
	}
}

func TestCommitRefuses(t *testing.T) {
	claim := Commit{Kind: CommitClaim}
	whole := claim.Append(nil)
	counts := whole[:len(whole)-5] // outcomes, notifications, alerts, delta, letters: none of each
	huge := binary.AppendUvarint(bytes.Clone(counts), 1<<40)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "ends too early"},
		{"version", []byte{7, 1}, "version 7"},
		{"version 0", []byte{0, 1}, "version 0"},
		{"kind", []byte{commitVersion, 3}, "kind 3"},
		{"partition", []byte{commitVersion, 1, 0x80, 0x08}, "partition 1024"},
		{"count of outcomes", huge, "ends too early"},
		{"count of letters", append(bytes.Clone(whole[:len(whole)-1]), 2, 1, 1, 0), "ends too early"},
		{"letter to a partition that is none", append(bytes.Clone(whole[:len(whole)-1]), 1, 0x80, 0x08, 1, 0), "partition 1024"},
	} {
		if _, err := DecodeCommit(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.want)
		}
	}
}

// A commit from before there were letters ends with the delta.
func TestCommitOfVersion1(t *testing.T) {
	for i, c := range someCommits() {
		c.Letters = nil
		data := c.Append(nil)
		data = data[:len(data)-1] // without the count of letters
		data[0] = 1
		got, err := DecodeCommit(data)
		if err != nil || !reflect.DeepEqual(normal(got), c) {
			t.Errorf("commit %d:\n%+v became\n%+v, %v", i, c, got, err)
		}
		if _, err := DecodeCommit(append(data, 0)); err == nil {
			t.Errorf("commit %d: a tail was accepted", i)
		}
	}
}

func FuzzDecodeCommit(f *testing.F) {
	for _, c := range someCommits() {
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeCommit(data)
		if err != nil {
			return
		}
		again, err := DecodeCommit(c.Append(nil))
		if err != nil || !reflect.DeepEqual(normal(again), normal(c)) {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}
