package accept

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"recharged/state/charge"
)

func TestVerdictJSON(t *testing.T) {
	cases := []struct {
		name    string
		verdict Verdict
		want    string
	}{
		{"nothing", Verdict{Rejected: []Rejected{}},
			`{"accepted":0,"rejected":[]}`},
		{"accepted", Verdict{Accepted: 2, Rejected: []Rejected{}, Stream: "recharged_in_1", Sequence: 42},
			`{"accepted":2,"rejected":[],"stream":"recharged_in_1","seq":42}`},
		{"rejected", Verdict{Rejected: []Rejected{
			{Index: 1, ID: `01"JD`, Reason: charge.BadAmount, Field: "data.amount", Detail: "has\nthree decimals", Type: "recharge"},
			{Index: 3, Reason: charge.Malformed, Detail: "no JSON"}}},
			`{"accepted":0,"rejected":[{"index":1,"id":"01\"JD","reason":"bad_amount","field":"data.amount","detail":"has\nthree decimals"},` +
				`{"index":3,"id":"","reason":"malformed","detail":"no JSON"}]}`},
	}
	for _, c := range cases {
		got := c.verdict.AppendJSON([]byte("x"))
		if string(got) != "x"+c.want {
			t.Errorf("%s:\n got %s\nwant x%s", c.name, got, c.want)
		}
		// The field tags, from which documentation is generated, say the same.
		byTags, err := json.Marshal(&c.verdict)
		if err != nil || string(byTags) != c.want {
			t.Errorf("%s by its tags: %s, %v", c.name, byTags, err)
		}
		var back Verdict
		if err := json.Unmarshal(got[1:], &back); err != nil || back.Accepted != c.verdict.Accepted || back.Sequence != c.verdict.Sequence {
			t.Errorf("%s reads back as %+v, %v", c.name, back, err)
		}
	}
}

func TestVerdictJSONOfBrokenText(t *testing.T) {
	v := Verdict{Rejected: []Rejected{{ID: "a\xffb", Reason: charge.Malformed, Detail: "d"}}}
	var back Verdict
	if err := json.Unmarshal(v.AppendJSON(nil), &back); err != nil || back.Rejected[0].ID != "a\ufffdb" {
		t.Errorf("%s reads back as %+v, %v", v.AppendJSON(nil), back, err)
	}
}
func TestBinaryAttributes(t *testing.T) {
	cases := []struct {
		name   string
		header map[string][]string
		want   map[string]string
	}{
		{"none", map[string][]string{"Nats-Msg-Id": {"1"}, "Content-Type": {"application/json"}}, nil},
		{"any case", map[string][]string{"CE-ID": {"1"}, "ce-Type": {"recharge"}, "Ce-Empty": nil},
			map[string]string{"id": "1", "type": "recharge"}},
		{"as on Kafka", map[string][]string{"ce_id": {"1"}}, map[string]string{"id": "1"}},
		{"escapes", map[string][]string{"ce-id": {"Euro%20%E2%82%AC%F0%9f%98%80"}, "ce-source": {"/a%2520b"}, "ce-x": {"100%, %zz %4"}},
			map[string]string{"id": "Euro €😀", "source": "/a%20b", "x": "100%, %zz %4"}},
		{"a quoted string", map[string][]string{"ce-id": {`"a \"b\" \\%41"`}, "ce-x": {`"`}}, map[string]string{"id": `a "b" \A`, "x": `"`}},
		{"no escapes on Kafka", map[string][]string{"ce_id": {"%41"}}, map[string]string{"id": "%41"}},
		{"content type is of the data", map[string][]string{"ce-id": {"1"}, "content-type": {"text/xml"}},
			map[string]string{"id": "1", "datacontenttype": "text/xml"}},
		{"the attribute wins", map[string][]string{"ce-datacontenttype": {"application/json"}, "Content-Type": {"text/xml"}},
			map[string]string{"datacontenttype": "application/json"}},
	}
	for _, c := range cases {
		got, binary := BinaryAttributes(c.header)
		if !reflect.DeepEqual(got, c.want) || binary != (c.want != nil) {
			t.Errorf("%s: %v, %t", c.name, got, binary)
		}
	}
}

func TestEncodingOf(t *testing.T) {
	for contentType, want := range map[string]Encoding{
		"application/cloudevents+json; charset=utf-8": Event,
		"Application/CloudEvents-Batch+JSON":          Array,
		"application/x-ndjson":                        Lines,
		"application/protobuf":                        Protobuf,
	} {
		if got, known := EncodingOf(contentType); got != want || !known {
			t.Errorf("%s: %d, %t", contentType, got, known)
		}
	}
	for _, contentType := range []string{"", "application/json", "text/plain", ";;"} {
		if _, known := EncodingOf(contentType); known {
			t.Errorf("%q is no encoding", contentType)
		}
	}
}

func TestUnavailableKeepsItsCause(t *testing.T) {
	cause := errors.New("write /data: no space")
	err := error(unavailable("the log can't be written", retrySoon, cause))
	if !errors.Is(err, cause) || err.Error() != "the log can't be written: write /data: no space" {
		t.Errorf("%v", err)
	}
}
