module recharged

go 1.26.8

require (
	cel.dev/cel-go v0.33.2 // parses conditions; the rival in their tests
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // latencies of the load program
	github.com/ThreeDotsLabs/watermill v1.5.1 // the ways out, and foreign brokers in
	github.com/VictoriaMetrics/fastcache v1.13.3 // customers in memory, off the heap
	github.com/alecthomas/kong v1.17.0 // the command line
	github.com/cockroachdb/pebble/v2 v2.1.7 // the store
	github.com/danielgtaylor/huma/v2 v2.37.2 // OpenAPI from the code
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // strict JSON by tokens, numbers as text
	github.com/goccy/go-yaml v1.19.2 // YAML of settings and test files, with positions
	github.com/klauspost/compress v1.20.3 // gzip and zstd of files and bodies
	github.com/nats-io/nats-server/v2 v2.15.2 // the embedded log
	github.com/nats-io/nats.go v1.55.0 // the client of the log
	github.com/prometheus/client_golang v1.25.0 // metrics
	github.com/rogpeppe/go-internal v1.16.0 // test scripts
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // holds the rulebook schema to the loader, in tests
	github.com/schollz/progressbar/v3 v3.19.1 // the progress of load
	go.yaml.in/yaml/v3 v3.0.5 // YAML of rulebooks, with positions, quickly
	golang.org/x/term v0.47.0 // whether it is a terminal
	golang.org/x/time v0.16.0 // rate limits of log lines
	google.golang.org/protobuf v1.36.12 // the wire format of the Protobuf batch
	pgregory.net/rapid v1.3.0 // property tests
)

require (
	cel.dev/expr v0.25.1 // indirect
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/DataDog/zstd v1.5.7 // indirect
	github.com/RaduBerinde/axisds v0.1.0 // indirect
	github.com/RaduBerinde/btreemap v0.0.0-20250419174037-3d62b7205d54 // indirect
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/antlr4-go/antlr/v4 v4.13.1 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cenkalti/backoff/v5 v5.0.3 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/cockroachdb/crlib v0.0.0-20241112164430-1264a2edc35b // indirect
	github.com/cockroachdb/errors v1.11.3 // indirect
	github.com/cockroachdb/logtags v0.0.0-20230118201751-21c54148d20b // indirect
	github.com/cockroachdb/redact v1.1.5 // indirect
	github.com/cockroachdb/swiss v0.0.0-20260820225851-333444432258 // indirect
	github.com/cockroachdb/tokenbucket v0.0.0-20230807174530-cc333fc44b06 // indirect
	github.com/getsentry/sentry-go v0.27.0 // indirect
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/golang/snappy v1.0.0 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/lithammer/shortuuid/v3 v3.0.7 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/minio/minlz v1.0.1-0.20250507153514-87eb42fe8882 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/oklog/ulid v1.3.1 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/sony/gobreaker v1.0.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp v0.0.0-20240823005443-9b4947da3948 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20261019180522-ce908d29299b // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261019180522-ce908d29299b // indirect
	honnef.co/go/tools v0.8.2 // indirect
)

tool honnef.co/go/tools/cmd/staticcheck // make check
