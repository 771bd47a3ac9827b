package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Scope is a kind of thing that a token allows.
type Scope string

// The scopes.
const (
	Ingest  Scope = "ingest"  // send events
	Read    Scope = "read"    // look at customers, rulebooks, alerts, metrics and the live feed
	Rules   Scope = "rules"   // publish rulebooks
	Operate Scope = "operate" // retry and discard parked events
)

// Scopes lists them all.
func Scopes() []Scope { return []Scope{Ingest, Read, Rules, Operate} }

// Token is what the configuration knows of a token: never the token itself.
type Token struct {
	Name    string
	Hash    [sha256.Size]byte
	Scopes  []Scope
	Expires time.Time // zero: never
}

// Allows reports whether the token is good for that.
func (t *Token) Allows(s Scope) bool { return slices.Contains(t.Scopes, s) }

// tokenName is what a token may be called.
var tokenName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// CheckTokenName says what is wrong with a token's name.
func CheckTokenName(name string) error {
	if !tokenName.MatchString(name) {
		return fmt.Errorf("%q is no name for a token: use up to 32 lower-case letters, digits and hyphens", name)
	}
	return nil
}

// NewToken makes a token. The text is for its holder and kept nowhere.
func NewToken(name string, scopes []Scope, expires time.Time) (text string, t Token) {
	text = "rch_" + name + "_" + strings.ToLower(rand.Text())
	return text, Token{Name: name, Hash: sha256.Sum256([]byte(text)), Scopes: scopes, Expires: expires}
}

// HashText writes the token's hash as the configuration holds it.
func (t *Token) HashText() string { return hashPrefix + hex.EncodeToString(t.Hash[:]) }

const hashPrefix = "sha256:"

// ParseHash reads what HashText writes.
func ParseHash(text string) (hash [sha256.Size]byte, err error) {
	digits, ok := strings.CutPrefix(text, hashPrefix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != len(hash) {
		return hash, errors.New("a hash is sha256: and 64 hexadecimal digits, as `recharged token new` prints it")
	}
	copy(hash[:], raw)
	return hash, nil
}

// Keyring is the tokens that are good here.
type Keyring []Token

// Find returns the token with that text. It compares with all of them and in
// constant time, so that its duration tells nothing.
func (k Keyring) Find(text string, now time.Time) (Token, bool) {
	hash := sha256.Sum256([]byte(text))
	found := -1
	for i := range k {
		if subtle.ConstantTimeCompare(hash[:], k[i].Hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 || !k[found].Expires.IsZero() && !now.Before(k[found].Expires) {
		return Token{}, false
	}
	return k[found], true
}

// bearer names the security scheme in the OpenAPI document.
const bearer = "bearer"

// needs is the security of an operation: a token with one of these scopes.
func needs(scopes ...Scope) []map[string][]string {
	var alternatives []map[string][]string
	for _, s := range scopes {
		alternatives = append(alternatives, map[string][]string{bearer: {string(s)}})
	}
	return alternatives
}

// open is the security of an operation that needs no token.
func open() []map[string][]string { return []map[string][]string{{}} }

// guardedAdapter puts guards before every operation, and what they answer into
// its description. The security that the description states is the security it
// has; an operation that states none cannot be registered. An operation that
// needs the processor is refused until there is one.
type guardedAdapter struct {
	huma.Adapter
	api *API
}

func (g *guardedAdapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	if len(op.Security) == 0 {
		panic("api: operation " + op.OperationID + " does not say who may call it")
	}
	if op.Metadata[alwaysKey] == nil {
		handler = g.refuseWhileStarting(op, handler)
	}
	g.Adapter.Handle(op, g.guard(op, handler))
}

// guard lets only those through who have a token that is good for this.
func (g *guardedAdapter) guard(op *huma.Operation, handler func(huma.Context)) func(huma.Context) {
	var scopes []Scope
	for _, alternative := range op.Security {
		for _, name := range alternative[bearer] {
			scopes = append(scopes, Scope(name))
		}
	}
	if len(scopes) == 0 {
		return handler
	}
	g.describe(op, http.StatusUnauthorized, "There is no token, or none that is known and in force.", "WWW-Authenticate")
	g.describe(op, http.StatusForbidden, "The token lacks the scope.", "WWW-Authenticate")
	if len(g.api.opts.Tokens) == 0 {
		return handler
	}
	return func(ctx huma.Context) {
		if token, ok := g.api.admit(ctx, scopes); ok {
			handler(huma.WithValue(ctx, callerKey{}, token.Name))
		}
	}
}

// describe adds an answer of a guard to an operation that has none like it.
func (g *guardedAdapter) describe(op *huma.Operation, status int, description string, headers ...string) {
	code := strconv.Itoa(status)
	if op.Responses[code] == nil {
		op.Responses[code] = g.api.problemResponse(description, headers...)
	}
}

// admit returns the token of a request, or answers why there is none that is
// good for this.
func (a *API) admit(ctx huma.Context, scopes []Scope) (Token, bool) {
	_, w := humago.Unwrap(ctx)
	text, given := strings.CutPrefix(ctx.Header("Authorization"), "Bearer ")
	if !given {
		w.Header().Set("WWW-Authenticate", `Bearer realm="recharged"`)
		writeProblem(w, http.StatusUnauthorized, "a token is needed: send it as Authorization: Bearer rch_…")
		return Token{}, false
	}
	token, found := a.opts.Tokens.Find(strings.TrimSpace(text), a.now())
	if !found {
		w.Header().Set("WWW-Authenticate", `Bearer realm="recharged", error="invalid_token"`)
		writeProblem(w, http.StatusUnauthorized, "this token is unknown or has expired")
		return Token{}, false
	}
	if !slices.ContainsFunc(scopes, token.Allows) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="recharged", error="insufficient_scope", scope="%s"`, joinScopes(scopes, " ")))
		writeProblem(w, http.StatusForbidden, fmt.Sprintf("token %s lacks the scope %s", token.Name, joinScopes(scopes, " or ")))
		return Token{}, false
	}
	return token, true
}

func joinScopes(scopes []Scope, separator string) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, separator)
}

// callerKey is the context's key of the name of the token that was used.
type callerKey struct{}

// caller returns the name of the token that was used, "" without one.
func caller(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
