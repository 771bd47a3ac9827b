package rules

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"recharged/rules/when"
	"recharged/state/charge"
)

// rule is a rule of the book, compiled. Its conditions are asked in the order
// of their cost: schedule, tiers, when.
type rule struct {
	RuleInfo
	account  charge.Account
	schedule *schedule        // nil: always
	when     *when.Expression // nil: always
	group    int              // -1: none
	limits   []limit
	arm      string // the counter of a customer's arm; empty without a holdout
	credits  []credit
	tiers    []tier // by from; at least one
	tags     []Tag  // in the order of then
	says     []say
}

// say is a notification or an alert of a rule.
type say struct {
	// A notification has a template; its texts are in the order of the file.
	template string
	channel  string
	texts    []text
	delay    delay

	// An alert has a severity.
	severity string
	summary  []piece
	labels   []charge.Label
}

const (
	rulesMax       = 10_000
	ruleNameMax    = 64
	priorityMax    = 1_000_000
	defaultChannel = "sms"
)

var (
	severities = []string{"info", "warning", "critical"}
	causes     = []string{"recharge", "usage", "adjustment", "expiry"}
)

// rules reads the section of that name.
func (l *loader) rules() {
	n := l.doc.root.get("rules")
	if n == nil || n.shape == nothing || !l.isList(n, "rules") {
		return
	}
	if len(n.items) > rulesMax {
		l.errorf(n.items[rulesMax].place, "", "more than %d rules", rulesMax)
		return
	}
	groups := map[string]int{}
	names := make(map[string]place, len(n.items))
	for _, item := range n.items {
		if !l.isMapping(item, "rule", ruleForm) || !l.needs(item, "rule", keysNeeded(item)) {
			continue
		}
		if r := l.rule(item, groups); r != nil && l.once(names, item.get("name").place, r.Name) {
			l.book.rules = append(l.book.rules, r)
		}
	}
	l.book.groups = len(groups)
	slices.SortFunc(l.book.rules, byPriority)
	b := l.book
	byType := make(map[string][]*rule, len(l.schemas))
	b.waiting = make(map[string][]*rule)
	b.byName = make(map[string]*rule, len(b.rules))
	for _, r := range b.rules {
		b.byName[r.Name] = r
		if r.After != "" {
			b.waiting[r.After] = append(b.waiting[r.After], r)
		} else {
			byType[r.On] = append(byType[r.On], r)
		}
	}
	if !l.failed {
		b.makeMatchers(byType)
	}
}

// byPriority orders rules as they are judged.
func byPriority(a, b *rule) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
}

// keysNeeded returns the keys that a rule must have: it follows an event or waits
// for silence.
func keysNeeded(rule *node) []string {
	if rule.get("on") == nil && (rule.get("after") != nil || rule.get("quiet") != nil) {
		return []string{"name", "after", "quiet", "then"}
	}
	return []string{"name", "on", "then"}
}

// once refuses the second use of a rule's name.
func (l *loader) once(names map[string]place, at place, name string) bool {
	if first, twice := names[name]; twice {
		l.twice(at, first, "rule "+name)
		return false
	}
	names[name] = at
	return true
}

// rule reads one rule; nil if nothing can be said about the rest of it.
func (l *loader) rule(n *node, groups map[string]int) *rule {
	name, ok := l.text(n.get("name"))
	if !ok || !l.checkName(n.get("name").place, "rule", name, ruleNameMarks) {
		return nil
	}
	at := n.get("name").place
	if len(name) > ruleNameMax {
		l.errorf(at, "", "the rule's name is longer than %d characters", ruleNameMax)
	}
	if slices.Contains(causes, name) {
		l.errorf(at, "call it "+name+"-bonus", "postings of the ledger itself have the cause %q, a rule cannot", name)
	}
	r := &rule{RuleInfo: RuleInfo{Name: name}, group: -1, account: charge.PromoPrefix + charge.Account(name)}
	schema := l.occasion(n, r)
	if schema == nil {
		return nil
	}
	v := vocabulary{l, schema}
	if title := n.get("title"); title != nil {
		r.Title, _ = l.text(title)
	}
	if priority := n.get("priority"); priority != nil {
		r.Priority = int(l.integer(priority, -priorityMax, priorityMax))
	}
	if condition := n.get("when"); condition != nil {
		r.when = l.expression(condition, v, when.Bool)
	}
	if group := n.get("group"); group != nil {
		l.group(group, r, groups)
	}
	r.schedule = l.schedule(n.get("schedule"))
	l.then(n.get("then"), r, v)
	l.tiers(n.get("tiers"), r)
	l.limits(n.get("limits"), r)
	l.holdout(n.get("holdout"), r)
	if len(r.credits) > 0 && r.After == "" && n.get("limits") == nil {
		l.warnf(at, "add limits: {per_customer: [{count: 1, per: day}]}", "rule %s credits without any limit", name)
	}
	return r
}

// occasion reads what makes a rule be asked: an event, or the silence after one.
// It returns what the rule sees of it; nil after a fault.
func (l *loader) occasion(n *node, r *rule) *charge.Schema {
	on, after := n.get("on"), n.get("after")
	if on != nil {
		for _, key := range []string{"after", "quiet"} {
			if timer := n.get(key); timer != nil {
				l.errorf(timer.place, "keep one of the two", "a rule with on does not wait for silence, %s is of one that does", key)
			}
		}
		schema := l.eventType(on, "on", "write a rule for each event type")
		if schema != nil {
			r.On = schema.Type
		}
		return schema
	}
	schema := l.eventType(after, "after", "write a rule for each event type")
	r.Quiet = l.span(n.get("quiet"))
	if schema == nil {
		return nil
	}
	r.After = schema.Type
	return &charge.Schema{Type: charge.TimerType}
}

// eventType reads the name of one event type; nil after a fault.
func (l *loader) eventType(n *node, key, hint string) *charge.Schema {
	if n.shape == list {
		l.errorf(n.place, hint, "%s names one event type, this is a list", key)
		return nil
	}
	name, ok := l.text(n)
	schema := l.schemas[name]
	if ok && schema == nil {
		hint := cmp.Or(nearestHint(name, l.typeNames()), "the event types are "+strings.Join(l.typeNames(), ", "))
		l.errorf(n.place, hint, "there is no event type %q", name)
	}
	return schema
}

// group gives the rule the number of its group.
func (l *loader) group(n *node, r *rule, groups map[string]int) {
	r.Group, _ = l.text(n)
	if !l.checkName(n.place, "group", r.Group, ruleNameMarks) {
		return
	}
	number, ok := groups[r.Group]
	if !ok {
		number = len(groups)
		groups[r.Group] = number
	}
	r.group = number
}

// then reads what a rule does. Credits come first: texts may name them.
func (l *loader) then(n *node, r *rule, v vocabulary) {
	if !l.isList(n, "then") {
		return
	}
	if len(n.items) == 0 {
		l.errorf(n.place, "add - credit: {to: main, amount: 100}", "the rule does nothing")
	}
	var texts []entry
	for _, item := range n.items {
		if !l.isMapping(item, "action", actionForm) {
			continue
		}
		if len(item.entries) > 1 {
			l.errorf(item.entries[1].place, "put a dash before it", "one action an item, this is a second one")
		}
		for _, action := range item.entries {
			switch action.key {
			case "credit":
				if c, ok := l.credit(action.value, v); ok {
					r.credits = append(r.credits, c)
				}
			case "notify", "alert":
				texts = append(texts, action)
			case "tag", "untag":
				r.tags = append(r.tags, Tag{r.Name, l.tag(action.value), action.key == "untag"})
			}
		}
	}
	for _, action := range texts {
		if action.key == "notify" {
			l.notify(action.value, r, v)
		} else {
			l.alert(action.value, r, v)
		}
	}
}

func (l *loader) tag(n *node) string {
	tag, ok := l.text(n)
	if ok {
		l.checkName(n.place, "tag", tag, ruleNameMarks)
	}
	return tag
}

// notify reads a notification.
func (l *loader) notify(n *node, r *rule, v vocabulary) {
	if !l.isMapping(n, "notification", notifyForm) || !l.needs(n, "notification", []string{"template"}) {
		return
	}
	s := say{channel: defaultChannel}
	if channel := n.get("channel"); channel != nil {
		s.channel, _ = l.text(channel)
		// The channel becomes a part of a subject name.
		l.checkName(channel.place, "channel", s.channel, ruleNameMarks)
	}
	s.delay = l.delay(n)
	name, ok := l.text(n.get("template"))
	t := l.templates[name]
	if !ok || t == nil && !l.undeclared(n.get("template"), name) {
		return
	}
	s.template = name
	if t != nil {
		t.used = true
		for _, e := range t.texts {
			s.texts = append(s.texts, text{e.key, l.compileText(e.value, r, v)})
		}
	}
	r.says = append(r.says, s)
}

// undeclaredMax is how many templates a book may leave to whoever delivers its
// notifications. Each is compared with all that are declared.
const undeclaredMax = 100

// undeclared reports whether a template that the book does not have can be one of
// whoever delivers notifications: they get its name, and no text.
func (l *loader) undeclared(n *node, name string) bool {
	if !l.checkName(n.place, "template", name, pathNameMarks) {
		return false
	}
	if !l.foreign[name] {
		if len(l.foreign) == undeclaredMax {
			l.errorf(n.place, "declare it under templates", "there is no template %q, nor %d others", name, undeclaredMax)
			return false
		}
		if hint := nearestHint(name, l.templateNames()); hint != "" {
			l.errorf(n.place, hint, "there is no template %q", name)
			return false
		}
		l.foreign[name] = true
	}
	l.warnf(n.place, "declare it under templates, unless whoever delivers the notification has its text",
		"there is no template %q: the notification has its name and no text", name)
	return true
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// alert reads an alert. Its labels are fixed: they become label values of
// metrics systems, so nothing of a customer may enter them.
func (l *loader) alert(n *node, r *rule, v vocabulary) {
	if !l.isMapping(n, "alert", alertForm) || !l.needs(n, "alert", []string{"severity", "summary"}) {
		return
	}
	s := say{labels: []charge.Label{{Name: "rule", Value: r.Name}}}
	s.severity, _ = l.text(n.get("severity"))
	if !slices.Contains(severities, s.severity) {
		l.errorf(n.get("severity").place, "write "+strings.Join(severities, ", "), "%q is not a severity", s.severity)
	}
	if l.checkText(n.get("summary")) {
		s.summary = l.compileText(n.get("summary"), r, v)
	}
	if labels := n.get("labels"); labels != nil && l.wantMapping(labels, "labels", "write {team: fraud}") {
		for _, e := range labels.entries {
			value, ok := l.text(e.value)
			switch {
			case e.key == "rule" || !labelName.MatchString(e.key):
				l.errorf(e.place, "use letters, digits and _; rule is taken", "%q cannot be a label", e.key)
			case ok && strings.ContainsAny(value, "{}"):
				l.errorf(e.value.place, "put it into the summary", "labels are fixed texts, no value can be put in")
			case ok:
				s.labels = append(s.labels, charge.Label{Name: e.key, Value: value})
			}
		}
	}
	slices.SortFunc(s.labels, func(a, b charge.Label) int { return strings.Compare(a.Name, b.Name) })
	r.says = append(r.says, s)
}
