package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"recharged/state/money"
	"recharged/stream"
)

// settings are the configuration of the daemon. Each has a key in the
// configuration file, a flag and an environment variable; the flag wins over the
// variable, the variable over the file, the file over the default.
type settings struct {
	ConfigFile string `name:"config" short:"c" env:"RECHARGED_CONFIG" placeholder:"FILE" help:"Configuration file, as recharged config prints it."`

	Listen   string `key:"listen" env:"RECHARGED_LISTEN" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the HTTP API. Beyond the loopback interface it needs TLS and tokens."`
	Data     string `key:"data" env:"RECHARGED_DATA" default:"data" placeholder:"DIR" help:"Directory for logs and state, on a disk that keeps what was synced."`
	Rulebook string `key:"rulebook" env:"RECHARGED_RULEBOOK" placeholder:"PATH" help:"Rulebook file, or folder of them, that is published at start if it is new. Without one, and in a new data directory, a sample is."`

	NATSListen      string `name:"nats-listen" key:"nats.listen" env:"RECHARGED_NATS_LISTEN" default:"127.0.0.1:4222" placeholder:"ADDR" help:"Address of the embedded NATS server for clients; off for none."`
	NATSURL         string `name:"nats" aliases:"nats-url" key:"nats.url" env:"RECHARGED_NATS_URL" placeholder:"URL" help:"NATS server or cluster to use instead of the embedded one."`
	NATSPublicURL   string `name:"nats-public-url" key:"nats.public_url" env:"RECHARGED_NATS_PUBLIC_URL" placeholder:"URL" help:"The same server as the user of producers and consumers, in an account that cannot reach the logs; nats.url if left out."`
	NATSCredentials string `name:"nats-credentials" key:"nats.credentials" env:"RECHARGED_NATS_CREDENTIALS" placeholder:"FILE" help:"Credentials file for it."`
	NATSTLSCert     string `name:"nats-tls-cert" key:"nats.tls.cert" env:"RECHARGED_NATS_TLS_CERT" placeholder:"FILE" help:"Certificate of the embedded NATS server; that of tls.cert if left out."`
	NATSTLSKey      string `name:"nats-tls-key" key:"nats.tls.key" env:"RECHARGED_NATS_TLS_KEY" placeholder:"FILE" help:"Key of that certificate."`

	Sources sources `key:"sources" env:"RECHARGED_SOURCES" placeholder:"YAML" help:"JetStream streams of others to read events from: a list of {url, stream, subject, durable, credentials}."`

	Partitions  int    `key:"partitions" env:"RECHARGED_PARTITIONS" default:"0" placeholder:"N" help:"Pairs of logs; fixed when the data directory is first used. 0: the number of cores, 2 to 8."`
	Replicas    int    `key:"replicas" env:"RECHARGED_REPLICAS" default:"1" placeholder:"N" help:"Copies of each log in a NATS cluster; the embedded server has one."`
	Cache       size   `key:"cache" env:"RECHARGED_CACHE" default:"256MiB" placeholder:"SIZE" help:"Memory for customers. Too little costs reads from disk, nothing else."`
	Outcomes    bool   `key:"outcomes" env:"RECHARGED_OUTCOMES" default:"false" negatable:"" help:"Also put the outcome of every event on NATS."`
	OutputAge   span   `name:"output-age" key:"output_age" env:"RECHARGED_OUTPUT_AGE" default:"30d" placeholder:"SPAN" help:"For how long notifications and alerts are kept on NATS."`
	DiskReserve size   `name:"disk-reserve" key:"disk_reserve" env:"RECHARGED_DISK_RESERVE" default:"auto" placeholder:"SIZE" help:"Room on the disk below which no events are accepted. auto: 3 % of it, 32MiB to 1GiB."`
	TLSCert     string `name:"tls-cert" key:"tls.cert" env:"RECHARGED_TLS_CERT" placeholder:"FILE" help:"Certificate of the HTTP API, with its chain, PEM."`
	TLSKey      string `name:"tls-key" key:"tls.key" env:"RECHARGED_TLS_KEY" placeholder:"FILE" help:"Key of that certificate, PEM."`
	Tokens      tokens `name:"auth-tokens" key:"auth.tokens" env:"RECHARGED_AUTH_TOKENS" placeholder:"YAML" help:"Who may do what, as recharged token prints it: a list of {name, hash, scopes, expires}. Empty: everybody may do everything."`
	Insecure    bool   `key:"insecure" env:"RECHARGED_INSECURE" default:"false" negatable:"" help:"Listen beyond the loopback interface without TLS or tokens all the same."`
	LogLevel    string `name:"log-level" key:"log.level" env:"RECHARGED_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"debug, info, warn or error."`
	LogFormat   string `name:"log-format" key:"log.format" env:"RECHARGED_LOG_FORMAT" default:"auto" enum:"auto,text,json" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal, else json."`
}

// validate reports every fault of the settings that can be seen without trying.
func (s *settings) validate() error {
	var faults []string
	fault := func(key, format string, args ...any) {
		faults = append(faults, key+": "+fmt.Sprintf(format, args...))
	}
	if err := checkAddress(s.Listen); err != nil {
		fault("listen", "%v", err)
	}
	if address := s.natsListen(); address != "" {
		if err := checkAddress(address); err != nil {
			fault("nats.listen", "%v", err)
		}
	}
	if s.Data == "" {
		fault("data", "name a directory")
	}
	if s.Partitions < 0 || s.Partitions > partitionsMax {
		fault("partitions", "%d is not between 0 and %d", s.Partitions, partitionsMax)
	}
	if s.Replicas < 1 || s.Replicas > replicasMax {
		fault("replicas", "%d is not between 1 and %d", s.Replicas, replicasMax)
	}
	if s.Replicas > 1 && s.NATSURL == "" {
		fault("replicas", "the embedded NATS server keeps one copy; name a cluster with nats.url")
	}
	if s.Cache > cacheMax {
		fault("cache", "%s is more than %s", s.Cache, size(cacheMax))
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		fault("tls", "cert and key go together")
	}
	if (s.NATSTLSCert == "") != (s.NATSTLSKey == "") {
		fault("nats.tls", "cert and key go together")
	}
	if s.NATSURL == "" && s.NATSCredentials != "" {
		fault("nats.credentials", "they are for an external NATS; name it with nats.url")
	}
	if s.NATSURL == "" && s.NATSPublicURL != "" {
		fault("nats.public_url", "it is for an external NATS; name it with nats.url")
	}
	if len(faults) > 0 {
		return usagef("the configuration is wrong:\n  %s", strings.Join(faults, "\n  "))
	}
	return nil
}

const (
	partitionsMax = 1024 // the number of slots
	replicasMax   = 5    // what NATS can do
	cacheMax      = 1 << 40
)

// natsListen is the address of the embedded server, "" for none.
func (s *settings) natsListen() string {
	if s.NATSListen == "off" || s.NATSURL != "" {
		return ""
	}
	return s.NATSListen
}

// size is a number of bytes. Zero is written as auto.
type size uint64

const auto = "auto"

// UnmarshalText reads a size such as 256MiB.
func (s *size) UnmarshalText(text []byte) error {
	if string(text) == auto {
		*s = 0
		return nil
	}
	n, err := money.ParseSize(string(text))
	*s = size(n)
	return err
}

func (s size) String() string {
	if s == 0 {
		return auto
	}
	for _, unit := range [...]struct {
		name  string
		bytes size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s%unit.bytes == 0 {
			return strconv.FormatUint(uint64(s/unit.bytes), 10) + unit.name
		}
	}
	return strconv.FormatUint(uint64(s), 10)
}

// span is a duration in whole seconds, written as rulebooks write it.
type span time.Duration

// UnmarshalText reads a span such as 30d.
func (s *span) UnmarshalText(text []byte) error {
	n, err := money.ParseSpan(string(text))
	if err == nil && (n < 1 || n > spanSecondsMax) {
		err = fmt.Errorf("%s is not between 1s and %s", text, span(spanSecondsMax*time.Second))
	}
	*s = span(time.Duration(n) * time.Second)
	return err
}

const spanSecondsMax = 10 * 365 * 24 * 3600

func (s span) String() string {
	seconds := int64(time.Duration(s) / time.Second)
	for _, unit := range [...]struct {
		name    string
		seconds int64
	}{{"d", 24 * 3600}, {"h", 3600}, {"m", 60}} {
		if seconds%unit.seconds == 0 {
			return strconv.FormatInt(seconds/unit.seconds, 10) + unit.name
		}
	}
	return strconv.FormatInt(seconds, 10) + "s"
}

// lister is a setting that is a list: an entry in YAML a line.
type lister interface{ lines() []string }

// sources is the list of streams to read from.
type sources []stream.Source

// UnmarshalText reads the list as YAML.
func (s *sources) UnmarshalText(text []byte) error {
	var list []struct {
		URL         string `yaml:"url"`
		Stream      string `yaml:"stream"`
		Subject     string `yaml:"subject"`
		Durable     string `yaml:"durable"`
		Credentials string `yaml:"credentials"`
	}
	if err := yaml.UnmarshalWithOptions(text, &list, yaml.Strict()); err != nil {
		return fmt.Errorf("not a list of {url, stream, subject, durable, credentials}: %s", firstLine(err.Error()))
	}
	*s = nil
	for i, entry := range list {
		if entry.URL == "" || entry.Stream == "" {
			return fmt.Errorf("source %d needs a url and a stream", i+1)
		}
		*s = append(*s, stream.Source{
			URL: entry.URL, Stream: entry.Stream, Subject: entry.Subject, Durable: entry.Durable, Credentials: entry.Credentials,
		})
	}
	return nil
}

func (s sources) lines() []string {
	var lines []string
	for _, source := range s {
		line := fmt.Sprintf("{url: %q, stream: %q", source.URL, source.Stream)
		for _, optional := range [][2]string{{"subject", source.Subject}, {"durable", source.Durable}, {"credentials", source.Credentials}} {
			if optional[1] != "" {
				line += fmt.Sprintf(", %s: %q", optional[0], optional[1])
			}
		}
		lines = append(lines, line+"}")
	}
	return lines
}
