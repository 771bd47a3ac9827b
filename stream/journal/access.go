package journal

import (
	"crypto/subtle"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
)

// The users of connections from inside this process. Their password is made anew
// at each start and never leaves the process.
const (
	userCore   = "recharged-core"
	userPublic = "recharged-public"
)

// The accounts.
const (
	accountCore   = "CORE"
	accountPublic = "PUBLIC"
	accountIngest = "INGEST"
)

// guard decides about every client that connects.
type guard struct {
	secret    string
	authorize func(user, password, token string) (Access, bool)
	server    atomic.Pointer[server.Server]
}

func (g *guard) use(s *server.Server) { g.server.Store(s) }

// Check admits a client to an account, with permissions.
func (g *guard) Check(client server.ClientAuthentication) bool {
	if client.Kind() != server.CLIENT {
		return false
	}
	opts := client.GetOpts()
	if g.internal(client, opts.Password) {
		switch opts.Username {
		case userCore:
			return g.admit(client, opts.Username, accountCore, nil)
		case userPublic:
			return g.admit(client, opts.Username, accountPublic, nil)
		}
		return false
	}
	access := Access{Ingest: true, Read: true}
	if g.authorize != nil {
		allowed := false
		access, allowed = g.authorize(opts.Username, opts.Password, opts.Token)
		if !allowed {
			return false
		}
	}
	account := accountPublic
	if !access.Read {
		account = accountIngest
	}
	return g.admit(client, opts.Username, account, permissionsOf(access))
}

// internal reports whether a client is one of ours: it comes through memory and
// knows the secret. The second alone would do; the first makes sure that no
// guess from the network is ever compared.
func (g *guard) internal(client server.ClientAuthentication, password string) bool {
	addr := client.RemoteAddress()
	return addr != nil && addr.Network() == "pipe" &&
		subtle.ConstantTimeCompare([]byte(password), []byte(g.secret)) == 1
}

func (g *guard) admit(client server.ClientAuthentication, name, account string, permissions *server.Permissions) bool {
	a, err := g.server.Load().LookupAccount(account)
	if err != nil {
		return false
	}
	client.RegisterUser(&server.User{Username: name, Account: a, Permissions: permissions})
	return true
}

// outputs are the streams that outside clients may consume, each with the
// subjects that it holds.
func outputs() map[string]string {
	return map[string]string{
		"recharged_notifications": "recharged.notifications.>",
		"recharged_alerts":        "recharged.alerts.>",
		"recharged_outcomes":      "recharged.outcomes.>",
	}
}

// permissionsOf returns what an outside client may publish and subscribe to;
// what is not listed is refused.
//
// To ingest, it publishes events and gets answers in its inbox. To read, it
// looks up the output streams, makes consumers on them, fetches and acknowledges.
// It can neither create, change, purge nor delete a stream, nor delete a message,
// nor publish into an output. The logs are in an account that no subject of
// this one leads to.
//
// What permissions cannot prevent: the server itself publishes what a consumer
// delivers, to whatever subject the consumer, or a fetch, asked for. So a reader
// can have outputs delivered onto the subjects of this account: those of the
// outputs and that of the events. Therefore whoever publishes an output sends it
// with the headers of the expected stream and of its id. They stay with the
// copies, and the server refuses a copy in another stream by the first, in its
// own by the second, as long as it remembers the id. After that a copy is a
// repetition with the same id, which consumers drop anyway. As an event a copy
// is refused at the door: its type is none of an event. Likewise an answer goes
// to whatever subject the one who asked names, so whoever answers events must
// not answer to subjects of ours.
func permissionsOf(access Access) *server.Permissions {
	var publish []string
	subscribe := []string{"_INBOX.>"}
	if access.Ingest {
		publish = append(publish, "recharged.events", "recharged.events.>")
	}
	if access.Read {
		publish = append(publish, "$JS.API.INFO", "$JS.API.STREAM.NAMES")
		for stream, subjects := range outputs() {
			subscribe = append(subscribe, subjects)
			publish = append(publish,
				"$JS.API.STREAM.INFO."+stream,
				"$JS.API.STREAM.MSG.GET."+stream,
				"$JS.API.DIRECT.GET."+stream,
				"$JS.API.DIRECT.GET."+stream+".>",
				"$JS.API.CONSUMER.CREATE."+stream,
				"$JS.API.CONSUMER.CREATE."+stream+".>",
				"$JS.API.CONSUMER.DURABLE.CREATE."+stream+".*",
				"$JS.API.CONSUMER.INFO."+stream+".*",
				"$JS.API.CONSUMER.NAMES."+stream,
				"$JS.API.CONSUMER.LIST."+stream,
				"$JS.API.CONSUMER.DELETE."+stream+".*",
				"$JS.API.CONSUMER.MSG.NEXT."+stream+".*",
				"$JS.ACK."+stream+".>",
				"$JS.FC."+stream+".>")
		}
	}
	if len(publish) == 0 {
		return &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{">"}},
			Subscribe: &server.SubjectPermission{Allow: subscribe}}
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: subscribe},
	}
}
