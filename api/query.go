package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The query parameters of requests.
var (
	selectorQuery = []string{"container", "instance"}
	filterQuery   = []string{"format", "since", "last", "syscall", "errors", "pid", "all", "fds", "split", "header"}
	formatQuery   = []string{"format"}
)

// parseQuery refuses what is not in allowed, and parameters given twice, syscall excepted.
func parseQuery(raw string, allowed []string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, Errorf(CodeBadRequest, "query: %w", err)
	}
	for name, values := range q {
		if !slices.Contains(allowed, name) {
			e := Errorf(CodeBadRequest, "unknown query parameter %q", short(name))
			if len(allowed) == 0 {
				return nil, e.WithHint("leave it out: there are none here")
			}
			return nil, e.WithHint("one of %s", strings.Join(allowed, ", "))
		}
		if len(values) > 1 && name != "syscall" {
			return nil, Errorf(CodeBadRequest, "query parameter %q is given %d times", name, len(values))
		}
	}
	return q, nil
}

func badParam(name, value, want string) error {
	return Errorf(CodeBadRequest, "query parameter %s: %q is not %s", name, short(value), want)
}

func (c *call) selector() (Selector, error) {
	sel := Selector{Namespace: c.vars["namespace"], Pod: c.vars["pod"], Container: c.query.Get("container")}
	if c.query.Has("instance") {
		n, err := c.number("instance", 0)
		if err != nil {
			return sel, err
		}
		i := int(n)
		sel.Instance = &i
	}
	return sel, nil
}

func (c *call) dumpQuery() (q DumpQuery, err error) {
	if q.Format, err = c.format("text", "json", "perfetto"); err != nil {
		return q, err
	}
	if c.query.Has("since") {
		v := c.query.Get("since")
		q.Since, err = time.ParseDuration(v)
		if err != nil || q.Since <= 0 {
			return q, badParam("since", v, "a duration above 0, like 5s, 1m30s or 250ms")
		}
	}
	if c.query.Has("last") {
		n, err := c.number("last", 1)
		if err != nil {
			return q, err
		}
		q.Last = int(n)
	}
	if c.query.Has("pid") {
		n, err := c.number("pid", 1)
		if err != nil {
			return q, err
		}
		q.PID = uint32(n)
	}
	for _, list := range c.query["syscall"] {
		for name := range strings.SplitSeq(list, ",") {
			if name == "" {
				return q, badParam("syscall", list, "a list of system call names, like openat,read")
			}
			q.Syscalls = append(q.Syscalls, name)
		}
	}
	if q.Errors, err = c.flag("errors"); err != nil {
		return q, err
	}
	if q.All, err = c.flag("all"); err != nil {
		return q, err
	}
	if q.FDs, err = c.flag("fds"); err != nil {
		return q, err
	}
	if q.Split, err = c.flag("split"); err != nil {
		return q, err
	}
	if c.query.Has("header") {
		header, err := c.flag("header")
		q.NoHeader = !header
		return q, err
	}
	return q, nil
}

// format is one of those that there can be; the first where none is asked for.
func (c *call) format(can ...string) (string, error) {
	v := c.query.Get("format")
	switch {
	case slices.Contains(can, v):
		return v, nil
	case !c.query.Has("format"):
		return can[0], nil
	}
	return "", badParam("format", v, "one of "+strings.Join(can, ", "))
}

// flag is true where the parameter stands without a value, too.
func (c *call) flag(name string) (bool, error) {
	switch v := c.query.Get(name); v {
	case "":
		return c.query.Has(name), nil
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, badParam(name, v, "true or false")
	}
}

func (c *call) number(name string, least int64) (int64, error) {
	v := c.query.Get(name)
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < least {
		return 0, badParam(name, v, "a whole number of "+strconv.FormatInt(least, 10)+" or more")
	}
	return n, nil
}

// required is the value of a parameter that must be there.
func (c *call) required(name string) (string, error) {
	v := c.query.Get(name)
	if v == "" {
		return "", Errorf(CodeBadRequest, "query parameter %s is missing", name)
	}
	return v, nil
}

// decode reads the body as one JSON object into v, which an absent body leaves as it is.
func (c *call) decode(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("there is more than one JSON object")
	}
	return Errorf(CodeBadRequest, "the request's body: %w", err)
}
