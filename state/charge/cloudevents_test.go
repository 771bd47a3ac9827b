package charge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"recharged/state/charge"
)

const (
	rechargeJSON = `{"specversion":"1.0","id":"e1","source":"/ussd-gw/1","type":"recharge","subject":"213770123456","time":"2026-11-21T10:00:00Z","data":{"amount":350.00,"channel":"ussd","pos":"p1"}}`
	usageJSON    = `{"specversion":"1.0","id":"u1","source":"/ccn/2","type":"usage","subject":"213770123456","time":"2026-11-21T10:00:00Z","data":{"service":"voice","units":61}}`
	profileJSON  = `{"specversion":"1.0","id":"p1","source":"/crm","type":"profile","subject":"213770123456","time":"2026-11-21T10:00:00Z","data":{"set":{"language":"ar","age":24,"vip":true,"plans":["a","b"]},"unset":["city"]}}`
	adjustJSON   = `{"specversion":"1.0","id":"a1","source":"/crm","type":"adjustment","subject":"213770123456","time":"2026-11-21T10:00:00Z","data":{"balance":"main","amount":-1.50,"reason":"error"}}`
	surveyJSON   = `{"specversion":"1.0","id":"s1","source":"/crm","type":"survey","subject":"213770123456","time":"2026-11-21T10:00:00Z","data":{"nps":9}}`
	roamingJSON  = `{"specversion":"1.0","id":"r1","source":"/crm","type":"roaming","subject":"213770123456","time":"2026-11-21T10:00:00Z","data":{"country":"TN"}}`
)

// edit replaces a part of a text that must be there.
func edit(text, old, replacement string) string {
	if !strings.Contains(text, old) {
		panic(fmt.Sprintf("%q is not in %s", old, text))
	}
	return strings.Replace(text, old, replacement, 1)
}

func accept(t testing.TB, text string) charge.Event {
	t.Helper()
	e, r := charge.NewDecoder(catalog()).Event([]byte(text))
	if r != nil {
		t.Fatalf("%s: %v", text, r)
	}
	return e
}

func instant(text string) charge.Instant {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	i, ok := charge.InstantOf(at)
	if !ok {
		panic(text)
	}
	return i
}

func TestEventIsReadWhole(t *testing.T) {
	e := accept(t, edit(rechargeJSON, `"2026-11-21T10:00:00Z"`, `"2026-11-21T11:00:00.25+01:00","traceparent":"00-1","n":5,"gone":null`))
	if e.ID != "e1" || e.Source != "/ussd-gw/1" || e.Type != charge.Recharge || e.MSISDN.String() != "213770123456" {
		t.Errorf("wrong attributes: %+v", e)
	}
	if want := instant("2026-11-21T10:00:00.25Z"); e.Time != want {
		t.Errorf("time %v, want %v", e.Time.Time(), want.Time())
	}
	if amount, ok := e.Money("amount"); amount != 35000 || !ok {
		t.Errorf("amount %d, %v", amount, ok)
	}
	if e.Text("channel") != "ussd" || e.Text("pos") != "p1" || e.Field("voucher").Kind != charge.Missing {
		t.Errorf("wrong fields: %+v", e.Fields)
	}
	if want := `{"attributes":{"n":5,"traceparent":"00-1"},"data":{}}`; string(e.Extra) != want {
		t.Errorf("extra %s, want %s", e.Extra, want)
	}
}

func TestEventsAccepted(t *testing.T) {
	for name, test := range map[string]struct{ json, field, want string }{
		"amount as a string":        {edit(rechargeJSON, "350.00", `"350.5"`), "amount", "350.50"},
		"a whole amount":            {edit(rechargeJSON, "350.00", "350"), "amount", "350.00"},
		"the currency":              {edit(rechargeJSON, `"pos"`, `"currency":"DZD","pos"`), "currency", `"DZD"`},
		"an empty optional text":    {edit(rechargeJSON, `"ussd"`, `""`), "channel", `""`},
		"a null optional field":     {edit(rechargeJSON, `"ussd"`, `null`), "channel", "null"},
		"an escaped name":           {edit(rechargeJSON, `"amount"`, `"\u0061mount"`), "amount", "350.00"},
		"escaped text":              {edit(rechargeJSON, `"ussd"`, `"\u0645\"\n"`), "channel", `"م\"\n"`},
		"a plus before the number":  {edit(rechargeJSON, `"213770123456"`, `"+213770123456"`), "amount", "350.00"},
		"a content type":            {edit(rechargeJSON, `"id"`, `"datacontenttype":"application/JSON; charset=utf-8","id"`), "amount", "350.00"},
		"spaces everywhere":         {" \n" + strings.ReplaceAll(rechargeJSON, ",", " ,\t") + "\r\n", "amount", "350.00"},
		"no units":                  {edit(usageJSON, "61", "0"), "units", "0"},
		"whole units with a point":  {edit(usageJSON, "61", "61.0"), "units", "61"},
		"a free use":                {edit(usageJSON, "61", `61,"charge":0`), "charge", "0.00"},
		"a declared service":        {edit(usageJSON, "voice", "mms"), "service", `"mms"`},
		"attributes":                {profileJSON, "set", `{"age":24,"language":"ar","plans":["a","b"],"vip":true}`},
		"names of attributes":       {profileJSON, "unset", `["city"]`},
		"a debit":                   {adjustJSON, "amount", "-1.5"},
		"a debit as a string":       {edit(adjustJSON, "-1.50", `"-1.50"`), "amount", "-1.5"},
		"an unknown balance":        {edit(edit(adjustJSON, "main", "loyalty"), "-1.50", "0.12345"), "amount", "0.12345"},
		"the best mark":             {edit(surveyJSON, "9", "10"), "nps", "10"},
		"the worst mark":            {edit(surveyJSON, "9", "0"), "nps", "0"},
		"a long comment":            {edit(surveyJSON, "9", `9,"comment":"`+strings.Repeat("x", 4096)+`"`), "nps", "9"},
		"a declared type":           {roamingJSON, "country", `"TN"`},
		"a declared number":         {edit(roamingJSON, `"TN"`, `"TN","factor":-1.250`), "factor", "-1.25"},
		"a declared time":           {edit(roamingJSON, `"TN"`, `"TN","from":"2026-01-01T00:00:00+01:00"`), "from", `"2025-12-31T23:00:00Z"`},
		"a declared truth":          {edit(roamingJSON, `"TN"`, `"TN","abroad":false`), "abroad", "false"},
		"an id of 128 characters":   {edit(rechargeJSON, `"e1"`, `"`+strings.Repeat("é", 128)+`"`), "amount", "350.00"},
		"unknown data of depth 32":  {edit(rechargeJSON, `"pos"`, `"x":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+`,"pos"`), "pos", `"p1"`},
		"the largest amount":        {edit(rechargeJSON, "350.00", "90000000000000.00"), "amount", "90000000000000.00"},
		"the largest count":         {edit(usageJSON, "61", "9000000000000000"), "units", "9000000000000000"},
		"a source with an escape":   {edit(rechargeJSON, "/ussd-gw/1", "urn:x:%C3%A9"), "pos", `"p1"`},
		"256 attributes":            {edit(profileJSON, `{"language":"ar"`, `{`+manyAttributes(252)+`"language":"ar"`), "unset", `["city"]`},
		"names of all kinds":        {edit(profileJSON, `{"language":"ar","age":24,"vip":true,"plans":["a","b"]}`, `{"1st":1,"a-b.c":2,"é d":3,"`+strings.Repeat("é", 64)+`":4}`), "set", `{"1st":1,"a-b.c":2,"é d":3,"` + strings.Repeat("é", 64) + `":4}`},
		"numbers of all kinds":      {edit(profileJSON, `{"language":"ar","age":24,"vip":true,"plans":["a","b"]}`, `{"a":1e5,"b":-1.5E-3,"c":3.14159265358979323846,"d":1e-400,"e":9223372036854775807.9}`), "set", `{"a":100000,"b":-0.0015,"c":3.141592653589793238,"d":0,"e":9223372036854775807}`},
		"a long attribute":          {edit(profileJSON, `"ar"`, `"`+strings.Repeat("v", 4096)+`"`), "unset", `["city"]`},
		"a number's exponent":       {edit(roamingJSON, `"TN"`, `"TN","factor":1e2`), "factor", "100"},
		"the currency of a use":     {edit(usageJSON, "61", `61,"charge":1.5,"currency":"DZD"`), "charge", "1.50"},
		"small letters in a time":   {edit(roamingJSON, `"TN"`, `"TN","from":"2026-01-01t00:00:00z"`), "from", `"2026-01-01T00:00:00Z"`},
		"the beginning of time":     {edit(roamingJSON, `"TN"`, `"TN","from":"0001-01-01T00:00:00Z"`), "from", `"1677-09-21T00:12:43.145224192Z"`},
		"the end of time":           {edit(roamingJSON, `"TN"`, `"TN","from":"9999-12-31T23:59:59-23:59"`), "from", `"2262-04-11T23:47:16.854775807Z"`},
		"the epoch":                 {edit(roamingJSON, `"TN"`, `"TN","from":"1970-01-01T01:00:00+01:00"`), "from", `"1970-01-01T00:00:00.000000001Z"`},
		"an event of the full size": {padded(charge.EventBytesMax), "amount", "350.00"},
	} {
		t.Run(name, func(t *testing.T) {
			e := accept(t, test.json)
			if got := fieldJSON(&e, test.field); got != test.want {
				t.Errorf("%s is %s, want %s", test.field, got, test.want)
			}
			if r := catalog().Check(&e); r != nil {
				t.Errorf("Check refuses what the decoder accepted: %v", r)
			}
		})
	}
	bare := accept(t, edit(profileJSON, profileJSON[strings.Index(profileJSON, `,"data"`):], "}"))
	if len(bare.Fields) != 0 {
		t.Errorf("a profile without data has %+v", bare.Fields)
	}
	accept(t, edit(profileJSON, profileJSON[strings.Index(profileJSON, `"data"`):], `"data":null}`))
}

func manyAttributes(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `"a%d":%d,`, i, i)
	}
	return text.String()
}

// padded returns an event of exactly that many bytes.
func padded(size int) string {
	const hole = `"x":"",`
	return edit(rechargeJSON, `"pos"`, `"x":"`+strings.Repeat("x", size-len(rechargeJSON)-len(hole))+`","pos"`)
}

// fieldJSON returns a field as the event's own JSON has it.
func fieldJSON(e *charge.Event, name string) string {
	v := e.Field(name)
	if v.Kind == charge.Missing {
		return "null"
	}
	text := string(charge.AppendEventJSON(nil, &charge.Event{Fields: []charge.Field{{Name: name, Value: v}}}))
	start := strings.Index(text, `"data":{"`+name+`":`) + len(`"data":{"`+name+`":`)
	return text[start : len(text)-2]
}

// rejected are events that the door refuses, by what is wrong with them.
var rejected = map[string]struct {
	json   string
	reason charge.RejectReason
	field  string
	detail string // a part of it
}{
	"nothing":                     {"", charge.Malformed, "", "one JSON object"},
	"no object":                   {"[1]", charge.Malformed, "", "one JSON object"},
	"half an object":              {rechargeJSON[:60], charge.Malformed, "", "ends too early"},
	"two objects":                 {rechargeJSON + rechargeJSON, charge.Malformed, "", "follows"},
	"a name twice":                {edit(rechargeJSON, `"id"`, `"id":"x","id"`), charge.Malformed, "", "duplicate"},
	"a name twice in data":        {edit(rechargeJSON, `"pos"`, `"amount":1,"pos"`), charge.Malformed, "", "duplicate"},
	"a name twice in the unknown": {edit(rechargeJSON, `"pos"`, `"x":{"a":1,"a":2},"pos"`), charge.Malformed, "", "duplicate"},
	"a name twice by an escape":   {edit(rechargeJSON, `"pos"`, `"\u0061mount":1,"pos"`), charge.Malformed, "", "duplicate"},
	"no UTF-8":                    {edit(rechargeJSON, "ussd", "\xff"), charge.Malformed, "", "UTF-8"},
	"half a surrogate":            {edit(rechargeJSON, "ussd", `\ud800`), charge.Malformed, "", ""},
	"a comma too many":            {edit(rechargeJSON, `"p1"`, `"p1",`), charge.Malformed, "", ""},
	"NaN":                         {edit(rechargeJSON, "350.00", "NaN"), charge.Malformed, "", ""},
	"too deep":                    {edit(rechargeJSON, `"pos"`, `"x":`+strings.Repeat("[", 33)+strings.Repeat("]", 33)+`,"pos"`), charge.Malformed, "data.x", "deeper"},
	"very deep":                   {strings.Repeat(`{"a":`, 12000), charge.Malformed, "", ""},
	"another version":             {edit(rechargeJSON, `"1.0"`, `"0.3"`), charge.Malformed, "specversion", `"0.3"`},
	"a version as a number":       {edit(rechargeJSON, `"1.0"`, `1.0`), charge.Malformed, "specversion", "string"},
	"an id as a number":           {edit(rechargeJSON, `"e1"`, `1`), charge.Malformed, "id", "string"},
	"an empty id":                 {edit(rechargeJSON, `"e1"`, `""`), charge.Malformed, "id", "1 to 128"},
	"a long id":                   {edit(rechargeJSON, `"e1"`, `"`+strings.Repeat("é", 129)+`"`), charge.Malformed, "id", "this has 129"},
	"an id with a line break":     {edit(rechargeJSON, `"e1"`, `"a\nb"`), charge.Malformed, "id", "control"},
	"no URI":                      {edit(rechargeJSON, "/ussd-gw/1", "ussd gw"), charge.Malformed, "source", "URI"},
	"an empty source":             {edit(rechargeJSON, "/ussd-gw/1", ""), charge.Malformed, "source", "URI"},
	"a bad scheme":                {edit(rechargeJSON, "/ussd-gw/1", "1:x"), charge.Malformed, "source", "URI"},
	"a bad escape":                {edit(rechargeJSON, "/ussd-gw/1", "/%2"), charge.Malformed, "source", "URI"},
	"two fragments":               {edit(rechargeJSON, "/ussd-gw/1", "/a#b#c"), charge.Malformed, "source", "URI"},
	"another content type":        {edit(rechargeJSON, `"id"`, `"datacontenttype":"text/xml","id"`), charge.Malformed, "datacontenttype", "text/xml"},
	"binary data":                 {edit(rechargeJSON, `"id"`, `"data_base64":"AA==","id"`), charge.Malformed, "data_base64", "JSON"},
	"data as a text":              {edit(surveyJSON, `{"nps":9}`, `"nps"`), charge.Malformed, "data", "object"},
	"data as a list":              {edit(surveyJSON, `{"nps":9}`, `[]`), charge.Malformed, "data", "object"},
	"an amount as a truth":        {edit(rechargeJSON, "350.00", "true"), charge.BadAmount, "data.amount", "amount"},
	"an amount as a list":         {edit(rechargeJSON, "350.00", "[350]"), charge.BadAmount, "data.amount", "amount"},
	"an amount as an object":      {edit(rechargeJSON, "350.00", "{}"), charge.BadAmount, "data.amount", "amount"},
	"a charge as a truth":         {edit(usageJSON, "61", `61,"charge":true`), charge.BadAmount, "data.charge", "amount"},
	"a correction as a list":      {edit(adjustJSON, "-1.50", "[]"), charge.BadAmount, "data.amount", "amount"},
	"a currency as a number":      {edit(rechargeJSON, `"pos"`, `"currency":12,"pos"`), charge.BadCurrency, "data.currency", "string"},
	"a service as a truth":        {edit(usageJSON, `"voice"`, "true"), charge.UnknownService, "data.service", "string"},
	"a number as a number":        {edit(rechargeJSON, `"213770123456"`, "213770123456"), charge.BadSubject, "subject", "string"},
	"a time as a number":          {edit(rechargeJSON, `"2026-11-21T10:00:00Z"`, "1795255200"), charge.BadTime, "time", "string"},
	"a declared time as a number": {edit(roamingJSON, `"TN"`, `"TN","from":1`), charge.BadTime, "data.from", "string"},
	"a type as a number":          {edit(rechargeJSON, `"recharge"`, "1"), charge.Malformed, "type", "string"},
	"a channel as a number":       {edit(rechargeJSON, `"ussd"`, `7`), charge.Malformed, "data.channel", "string"},
	"a channel as an object":      {edit(rechargeJSON, `"ussd"`, `{}`), charge.Malformed, "data.channel", "string"},
	"a long text":                 {edit(rechargeJSON, `"ussd"`, `"`+strings.Repeat("x", 4097)+`"`), charge.Malformed, "data.channel", "4096"},
	"a long comment":              {edit(surveyJSON, "9", `9,"comment":"`+strings.Repeat("x", 4097)+`"`), charge.Malformed, "data.comment", "4096"},
	"units below zero":            {edit(usageJSON, "61", "-1"), charge.Malformed, "data.units", "at least 0"},
	"part of a unit":              {edit(usageJSON, "61", "1.5"), charge.Malformed, "data.units", "whole"},
	"units with an exponent":      {edit(usageJSON, "61", "1e3"), charge.Malformed, "data.units", "exponent"},
	"units as a string":           {edit(usageJSON, "61", `"61"`), charge.Malformed, "data.units", "whole"},
	"far too many units":          {edit(usageJSON, "61", "9000000000000001"), charge.Malformed, "data.units", "must be a whole number: beyond ±9000000000000000"},
	"a mark above ten":            {edit(surveyJSON, "9", "11"), charge.Malformed, "data.nps", "from 0 to 10"},
	"a mark below zero":           {edit(surveyJSON, "9", "-1"), charge.Malformed, "data.nps", "from 0 to 10"},
	"set as a list":               {edit(profileJSON, `{"language":"ar","age":24,"vip":true,"plans":["a","b"]}`, "[]"), charge.Malformed, "data.set", "object"},
	"an attribute in depth":       {edit(profileJSON, `true`, `{"x":1}`), charge.Malformed, "data.set.vip", "unset"},
	"an attribute of null":        {edit(profileJSON, `true`, `null`), charge.Malformed, "data.set.vip", "unset"},
	"a list of numbers":           {edit(profileJSON, `["a","b"]`, `["a",1]`), charge.Malformed, "data.set.plans", "list of strings"},
	"an empty attribute name":     {edit(profileJSON, `"vip"`, `""`), charge.Malformed, "data.set.", "printable"},
	"a line break in a name":      {edit(profileJSON, `"vip"`, `"v\np"`), charge.Malformed, "data.set.v\np", "printable"},
	"a name with a space first":   {edit(profileJSON, `"vip"`, `" vip"`), charge.Malformed, "data.set. vip", "no space"},
	"a long attribute name":       {edit(profileJSON, `"vip"`, `"`+strings.Repeat("v", 65)+`"`), charge.Malformed, "data.set." + strings.Repeat("v", 65), "64"},
	"a long attribute":            {edit(profileJSON, `"ar"`, `"`+strings.Repeat("v", 4097)+`"`), charge.Malformed, "data.set.language", "4096"},
	"an attribute too large":      {edit(profileJSON, `24`, `1e19`), charge.Malformed, "data.set.age", "out of range"},
	"257 attributes":              {edit(profileJSON, `{"language":"ar"`, `{`+manyAttributes(253)+`"language":"ar"`), charge.Malformed, "data.set", "256"},
	"a long list":                 {edit(profileJSON, `["city"]`, `["x"`+strings.Repeat(`,"x"`, 256)+`]`), charge.Malformed, "data.unset", "256"},
	"a number too large":          {edit(roamingJSON, `"TN"`, `"TN","factor":1e400`), charge.Malformed, "data.factor", "out of range"},
	"no id":                       {edit(rechargeJSON, `"id":"e1",`, ""), charge.MissingAttribute, "id", "required"},
	"no version":                  {edit(rechargeJSON, `"specversion":"1.0",`, ""), charge.MissingAttribute, "specversion", "required"},
	"no source":                   {edit(rechargeJSON, `"source":"/ussd-gw/1",`, ""), charge.MissingAttribute, "source", "required"},
	"no type":                     {edit(rechargeJSON, `"type":"recharge",`, ""), charge.MissingAttribute, "type", "required"},
	"no subject":                  {edit(rechargeJSON, `"subject":"213770123456",`, ""), charge.MissingAttribute, "subject", "required"},
	"no time":                     {edit(rechargeJSON, `"time":"2026-11-21T10:00:00Z",`, ""), charge.MissingAttribute, "time", "required"},
	"a null for a subject":        {edit(rechargeJSON, `"213770123456"`, "null"), charge.MissingAttribute, "subject", "required"},
	"no amount":                   {edit(rechargeJSON, `"amount":350.00,`, ""), charge.MissingAttribute, "data.amount", "required"},
	"a null for an amount":        {edit(rechargeJSON, `350.00`, "null"), charge.MissingAttribute, "data.amount", "required"},
	"no data":                     {edit(surveyJSON, `,"data":{"nps":9}`, ""), charge.MissingAttribute, "data.nps", "required"},
	"missing before bad":          {edit(edit(rechargeJSON, `"id":"e1",`, ""), "213770123456", "12"), charge.MissingAttribute, "id", "required"},
	"a short number":              {edit(rechargeJSON, "213770123456", "12345"), charge.BadSubject, "subject", "6 to 15"},
	"a long number":               {edit(rechargeJSON, "213770123456", "1234567890123456"), charge.BadSubject, "subject", "6 to 15"},
	"letters in the number":       {edit(rechargeJSON, "213770123456", "21377012345x"), charge.BadSubject, "subject", "digits only"},
	"spaces in the number":        {edit(rechargeJSON, "213770123456", "213 770 1234"), charge.BadSubject, "subject", "digits only"},
	"two plus signs":              {edit(rechargeJSON, "213770123456", "++213770123"), charge.BadSubject, "subject", "digits only"},
	"an empty number":             {edit(rechargeJSON, "213770123456", ""), charge.BadSubject, "subject", "6 to 15"},
	"no offset":                   {edit(rechargeJSON, "10:00:00Z", "10:00:00"), charge.BadTime, "time", "RFC 3339"},
	"one digit of an hour":        {edit(rechargeJSON, "T10:00:00Z", "T1:00:00Z"), charge.BadTime, "time", "RFC 3339"},
	"a decimal comma":             {edit(rechargeJSON, "10:00:00Z", "10:00:00,5Z"), charge.BadTime, "time", "RFC 3339"},
	"a far offset":                {edit(rechargeJSON, "10:00:00Z", "10:00:00+24:00"), charge.BadTime, "time", "RFC 3339"},
	"a point without digits":      {edit(rechargeJSON, "10:00:00Z", "10:00:00.Z"), charge.BadTime, "time", "RFC 3339"},
	"a day that is none":          {edit(rechargeJSON, "2026-11-21", "2026-02-30"), charge.BadTime, "time", "RFC 3339"},
	"a leap second":               {edit(rechargeJSON, "10:00:00Z", "23:59:60Z"), charge.BadTime, "time", "RFC 3339"},
	"a year of five digits":       {edit(rechargeJSON, "2026-11-21", "12026-11-21"), charge.BadTime, "time", "RFC 3339"},
	"a bad declared time":         {edit(roamingJSON, `"TN"`, `"TN","from":"today"`), charge.BadTime, "data.from", "RFC 3339"},
	"a slip in the type":          {edit(rechargeJSON, `"recharge"`, `"recharg"`), charge.UnknownType, "type", `did you mean "recharge"?`},
	"another type":                {edit(rechargeJSON, `"recharge"`, `"refund"`), charge.UnknownType, "type", "adjustment, cdr, contact"},
	"the type of an expiry":       {edit(rechargeJSON, `"recharge"`, `"expiry"`), charge.UnknownType, "type", "does not know"},
	"nothing paid":                {edit(rechargeJSON, "350.00", "0"), charge.BadAmount, "data.amount", "more than zero"},
	"less than nothing paid":      {edit(rechargeJSON, "350.00", "-5"), charge.BadAmount, "data.amount", "more than zero"},
	"too many digits":             {edit(rechargeJSON, "350.00", "350.005"), charge.BadAmount, "data.amount", "at most 2 digits"},
	"a zero too many":             {edit(rechargeJSON, "350.00", "350.500"), charge.BadAmount, "data.amount", "at most 2 digits"},
	"a zero too many in a string": {edit(rechargeJSON, "350.00", `"350.000"`), charge.BadAmount, "data.amount", "at most 2 digits"},
	"a charge of a zero too many": {edit(usageJSON, "61", `61,"charge":1.000`), charge.BadAmount, "data.charge", "at most 2 digits"},
	"a debit of a zero too many":  {edit(adjustJSON, "-1.50", "-1.500"), charge.BadAmount, "data.amount", "2 digits"},
	"bytes with a point":          {edit(edit(adjustJSON, `"main"`, `"data"`), "-1.50", "-1.0"), charge.BadAmount, "data.amount", "0 digits"},
	"an exponent":                 {edit(rechargeJSON, "350.00", "3.5e2"), charge.BadAmount, "data.amount", "exponent"},
	"an exponent in a string":     {edit(rechargeJSON, "350.00", `"3.5E2"`), charge.BadAmount, "data.amount", "exponent"},
	"NaN in a string":             {edit(rechargeJSON, "350.00", `"NaN"`), charge.BadAmount, "data.amount", "decimal"},
	"an empty amount":             {edit(rechargeJSON, "350.00", `""`), charge.BadAmount, "data.amount", "decimal"},
	"more than all money":         {edit(rechargeJSON, "350.00", "90000000000000.01"), charge.BadAmount, "data.amount", "beyond"},
	"more than any number":        {edit(rechargeJSON, "350.00", strings.Repeat("9", 400)), charge.BadAmount, "data.amount", "range"},
	"a charge below zero":         {edit(usageJSON, "61", `61,"charge":-1`), charge.BadAmount, "data.charge", "negative"},
	"no correction":               {edit(adjustJSON, "-1.50", "0.00"), charge.BadAmount, "data.amount", "zero"},
	"a part of a centime":         {edit(adjustJSON, "-1.50", "-1.505"), charge.BadAmount, "data.amount", "2 digits"},
	"a part of a byte":            {edit(adjustJSON, `"main"`, `"data"`), charge.BadAmount, "data.amount", "0 digits"},
	"a correction as a word":      {edit(adjustJSON, "-1.50", `"all"`), charge.BadAmount, "data.amount", "decimal"},
	"another currency":            {edit(rechargeJSON, `"pos"`, `"currency":"EUR","pos"`), charge.BadCurrency, "data.currency", "must be DZD"},
	"another currency of a use":   {edit(usageJSON, "61", `61,"charge":1,"currency":"EUR"`), charge.BadCurrency, "data.currency", "must be DZD"},
	"an amount before a currency": {edit(edit(rechargeJSON, `"pos"`, `"currency":"EUR","pos"`), "350.00", "0"), charge.BadAmount, "data.amount", ""},
	"a slip in the service":       {edit(usageJSON, "voice", "voise"), charge.UnknownService, "data.service", `did you mean "voice"?`},
	"another service":             {edit(usageJSON, "voice", "television"), charge.UnknownService, "data.service", "voice, sms, data, mms"},
	"one byte too many":           {padded(charge.EventBytesMax + 1), charge.TooLarge, "", "65536"},
}

func TestEventsRejected(t *testing.T) {
	for name, test := range rejected {
		t.Run(name, func(t *testing.T) {
			_, r := charge.NewDecoder(catalog()).Event([]byte(test.json))
			if r == nil {
				t.Fatal("accepted")
			}
			if r.Reason != test.reason || r.Field != test.field || !strings.Contains(r.Detail, test.detail) {
				t.Errorf("got  %v\nwant %s: %s: …%s…", r, test.reason, test.field, test.detail)
			}
			if len(r.Detail) > 300 {
				t.Errorf("the detail has %d bytes", len(r.Detail))
			}
		})
	}
}

func TestRejectionNamesTheID(t *testing.T) {
	for _, text := range []string{
		edit(rechargeJSON, "350.00", "0"), edit(rechargeJSON, `"type":"recharge",`, ""), rechargeJSON[:100], edit(rechargeJSON, "1.0", "2.0"),
		padded(charge.EventBytesMax + 1),
	} {
		if e, r := charge.NewDecoder(catalog()).Event([]byte(text)); r == nil || e.ID != "e1" {
			t.Errorf("%s: id %q, %v", text, e.ID, r)
		}
	}
}

// The id of an event that is too large is not searched for where no event may end.
func TestLateIDOfALargeEventIsNotRead(t *testing.T) {
	text := strings.Replace(padded(charge.EventBytesMax+100), `"id":"e1",`, "", 1)
	text = text[:len(text)-1] + `,"id":"e1"}`
	if e, r := charge.NewDecoder(catalog()).Event([]byte(text)); r == nil || r.Reason != charge.TooLarge || e.ID != "" {
		t.Errorf("id %q, %v", e.ID, r)
	}
}

// An event of any year passes the door, and is the same event when it is read again.
func TestEventsOfAllYears(t *testing.T) {
	for _, at := range []string{"0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1677-09-21T00:12:43Z", "1970-01-01T00:00:00Z",
		"1969-12-31T23:59:59.999999999Z", "2262-04-11T23:47:16.854775808Z", "9999-12-31t23:59:59.9999999999z"} {
		e := accept(t, edit(rechargeJSON, "2026-11-21T10:00:00Z", at))
		if again := accept(t, string(charge.AppendEventJSON(nil, &e))); !reflect.DeepEqual(e, again) {
			t.Errorf("%s: written %+v, read %+v", at, e, again)
		}
		if again, _, err := charge.DecodeEvent(charge.AppendEvent(nil, &e)); err != nil || !reflect.DeepEqual(e, again) {
			t.Errorf("%s: encoded %+v, decoded %+v, %v", at, e, again, err)
		}
	}
}

// heard notes what a decoder hands out, one word an event: its id, or the
// reason why it was refused.
type heard struct {
	t     *testing.T
	words []string
}

func (h *heard) each(index int, e charge.Event, r *charge.Rejection) {
	if index != len(h.words) {
		h.t.Errorf("index %d, want %d", index, len(h.words))
	}
	word := e.ID
	if r != nil {
		word += "!" + string(r.Reason)
	}
	h.words = append(h.words, word)
}

func (h *heard) want(want string) {
	h.t.Helper()
	if got := strings.Join(h.words, " "); got != want {
		h.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBatch(t *testing.T) {
	bad := edit(rechargeJSON, "350.00", "0")
	twice := edit(usageJSON, `"id"`, `"x":1,"x":2,"id"`)
	for name, test := range map[string]struct{ json, want, fault string }{
		"empty":                        {"[]", "", ""},
		"one":                          {"[" + rechargeJSON + "]", "e1", ""},
		"a bad one among good ones":    {"[" + usageJSON + "," + bad + "," + surveyJSON + "]", "u1 e1!bad_amount s1", ""},
		"items that are no events":     {`[1,null,"x",` + surveyJSON + "]", "!malformed !malformed !malformed s1", ""},
		"a name twice in one":          {"[" + twice + "," + surveyJSON + "]", "!malformed s1", ""},
		"no UTF-8 in one":              {"[" + edit(rechargeJSON, "ussd", "\xff") + "," + surveyJSON + "]", "e1!malformed s1", ""},
		"one too large":                {"[" + padded(charge.EventBytesMax+1) + "," + surveyJSON + "]", "e1!too_large s1", ""},
		"no array":                     {rechargeJSON, "", "must be a JSON array"},
		"nothing":                      {"", "", "ends too early"},
		"broken at the second":         {"[" + rechargeJSON + `,{"id":}]`, "e1", "broken at event 1, byte 18"},
		"cut off":                      {"[" + rechargeJSON + "," + usageJSON[:20], "e1", "broken at event 1"},
		"no end":                       {"[" + rechargeJSON, "e1", "ends too early"},
		"something after it":           {"[" + rechargeJSON + "] x", "e1", "follows"},
		"a comma at the end":           {"[" + rechargeJSON + ",]", "e1", "broken at event 1"},
		"two of the same id, both out": {"[" + rechargeJSON + "," + rechargeJSON + "]", "e1 e1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &heard{t: t}
			r := charge.NewDecoder(catalog()).Batch([]byte(test.json), h.each)
			h.want(test.want)
			if (r == nil) != (test.fault == "") || r != nil && (r.Reason != charge.Malformed || !strings.Contains(r.Detail, test.fault)) {
				t.Errorf("fault %v, want %q", r, test.fault)
			}
		})
	}
}

func TestLines(t *testing.T) {
	full, large := padded(charge.EventBytesMax), padded(charge.EventBytesMax+1)
	bad := edit(rechargeJSON, "350.00", "0")
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                    {"", ""},
		"blank lines":                {"\n \r\n\t\n", ""},
		"no line break at the end":   {rechargeJSON + "\n\n" + usageJSON, "e1 u1"},
		"line breaks of all systems": {rechargeJSON + "\r\n" + usageJSON + "\n", "e1 u1"},
		"a bad one among good ones":  {usageJSON + "\n{\n" + bad + "\n" + surveyJSON, "u1 !malformed e1!bad_amount s1"},
		"the largest":                {full + "\r\n" + surveyJSON, "e1 s1"},
		"a byte too many":            {large + "\n" + surveyJSON, "e1!too_large s1"},
		"far too large":              {strings.Repeat(large, 5) + "\n" + surveyJSON, "e1!too_large s1"},
		"far too large at the end":   {surveyJSON + "\n" + strings.Repeat(large, 5), "s1 e1!too_large"},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				h, d := &heard{t: t}, charge.NewDecoder(catalog())
				for range 2 { // The decoder can be used again.
					h.words = nil
					if err := d.Lines(reader(strings.NewReader(test.text)), h.each); err != nil {
						t.Fatal(err)
					}
					h.want(test.want)
				}
			})
		}
	}
	h, broken := &heard{t: t}, errors.New("the line is dead")
	err := charge.NewDecoder(catalog()).Lines(io.MultiReader(strings.NewReader(rechargeJSON+"\n"+usageJSON), iotest.ErrReader(broken)), h.each)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	h.want("e1") // The second line may be cut off.
}

func TestBinary(t *testing.T) {
	attributes := map[string]string{
		"specversion": "1.0", "id": "e1", "source": "/ussd-gw/1", "type": "recharge", "subject": "213770123456",
		"time": "2026-11-21T10:00:00Z", "datacontenttype": "application/json",
	}
	data := `{"amount":350.00,"channel":"ussd","pos":"p1"}`
	d := charge.NewDecoder(catalog())
	e, r := d.Binary(attributes, []byte(data))
	if r != nil {
		t.Fatal(r)
	}
	if want := accept(t, rechargeJSON); !reflect.DeepEqual(e, want) {
		t.Errorf("binary mode gives\n%+v\nwant\n%+v", e, want)
	}
	attributes["traceparent"] = `00-"1"`
	if e, r = d.Binary(attributes, []byte(data)); r != nil || string(e.Extra) != `{"attributes":{"traceparent":"00-\"1\""},"data":{}}` {
		t.Errorf("extra %s, %v", e.Extra, r)
	}
	for name, test := range map[string]struct {
		attribute, value, data string
		reason                 charge.RejectReason
	}{
		"no data":           {"id", "e1", "", charge.MissingAttribute},
		"no object":         {"id", "e1", "[]", charge.Malformed},
		"two objects":       {"id", "e1", data + data, charge.Malformed},
		"half an object":    {"id", "e1", data[:9], charge.Malformed},
		"no UTF-8":          {"x", "\xff", data, charge.Malformed},
		"an id of no UTF-8": {"id", "\xff", data, charge.Malformed},
		"data as attribute": {"data", "{}", data, charge.Malformed},
		"bad time":          {"time", "now", data, charge.BadTime},
		"too large":         {"x", strings.Repeat("x", charge.EventBytesMax), data, charge.TooLarge},
	} {
		changed := map[string]string{}
		for name, value := range attributes {
			changed[name] = value
		}
		changed[test.attribute] = test.value
		if _, r := d.Binary(changed, []byte(test.data)); r == nil || r.Reason != test.reason {
			t.Errorf("%s: %v, want %s", name, r, test.reason)
		}
	}
}

// The input belongs to the caller: it is neither changed nor kept.
func TestDecoderLeavesItsInputAlone(t *testing.T) {
	input := []byte(profileJSON)
	d := charge.NewDecoder(catalog())
	e, r := d.Event(input)
	if r != nil || string(input) != profileJSON {
		t.Fatalf("input is now %s, %v", input, r)
	}
	for i := range input {
		input[i] = 'x'
	}
	if want := accept(t, profileJSON); !reflect.DeepEqual(e, want) {
		t.Errorf("the event changed with its input: %+v", e)
	}
}

func TestEventJSONRoundTrip(t *testing.T) {
	d := charge.NewDecoder(catalog())
	rapid.Check(t, func(t *rapid.T) {
		want := events().Draw(t, "event")
		text := charge.AppendEventJSON(nil, &want)
		got, r := d.Event(text)
		if r != nil {
			t.Fatalf("%s: %v", text, r)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nread  %+v\nwrote %+v", text, got, want)
		}
		if got.Content() != want.Content() || got.Identity() != want.Identity() {
			t.Fatalf("%s: another identity or content", text)
		}
	})
}

func TestCheckRefusesWhatNoDecoderMakes(t *testing.T) {
	for name, spoil := range map[string]func(e *charge.Event){
		"no customer":         func(e *charge.Event) { e.MSISDN = 0 },
		"a customer of dust":  func(e *charge.Event) { e.MSISDN |= 0xf },
		"no time":             func(e *charge.Event) { e.Time = 0 },
		"no type":             func(e *charge.Event) { e.Type = "" },
		"no id":               func(e *charge.Event) { e.ID = "" },
		"fields out of order": func(e *charge.Event) { e.Fields[0], e.Fields[1] = e.Fields[1], e.Fields[0] },
		"a field twice":       func(e *charge.Event) { e.Fields = append(e.Fields, e.Fields[2]) },
		"another scale":       func(e *charge.Event) { e.Fields[0].Value.Scale = 3 },
		"another kind":        func(e *charge.Event) { e.Fields[1].Value = charge.BoolValue(true) },
	} {
		e := accept(t, rechargeJSON)
		if spoil(&e); catalog().Check(&e) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzEventJSON(f *testing.F) {
	for _, text := range []string{rechargeJSON, usageJSON, profileJSON, adjustJSON, surveyJSON, roamingJSON} {
		f.Add([]byte(text))
	}
	f.Add([]byte(edit(rechargeJSON, `"pos"`, `"x":[{"}":"\""}],"pos"`)))
	c := catalog()
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		d := charge.NewDecoder(c)
		e, r := d.Event(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the input was changed")
		}
		if r != nil {
			if r.Reason == "" || r.Detail == "" {
				t.Fatalf("an empty rejection: %+v", r)
			}
			return
		}
		if r := c.Check(&e); r != nil {
			t.Fatalf("Check refuses what the decoder accepted: %v", r)
		}
		text := charge.AppendEventJSON(nil, &e)
		if len(text) > charge.EventBytesMax {
			return
		}
		again, r := d.Event(text)
		if r != nil || !bytes.Equal(charge.AppendEvent(nil, &again), charge.AppendEvent(nil, &e)) {
			t.Fatalf("%s\nis read again as %+v, %v", text, again, r)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	d := charge.NewDecoder(catalog())
	for name, text := range map[string]string{"recharge": rechargeJSON, "usage": usageJSON, "profile": profileJSON} {
		b.Run("type="+name, func(b *testing.B) {
			data := []byte(text)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if e, r := d.Event(data); r != nil || e.Type != name {
					b.Fatal(r)
				}
			}
		})
	}
}
