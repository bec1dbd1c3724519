package api

import (
	"errors"
	"fmt"
	"net/http"
)

// A Code says what kind of failure an Error is. Codes are stable; texts are not.
type Code string

// The codes, each with the HTTP status that goes with it.
const (
	CodeBadRequest  Code = "bad_request" // 400
	CodeDenied      Code = "denied"      // 403
	CodeNotFound    Code = "not_found"   // 404
	CodeNotAllowed  Code = "not_allowed" // 405: the path has no such method
	CodeConflict    Code = "conflict"    // 409
	CodeInternal    Code = "internal"    // 500
	CodeUnavailable Code = "unavailable" // 503
)

// Status is the HTTP status that goes with c; 500 if c is unknown.
func (c Code) Status() int {
	switch c {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeDenied:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeNotAllowed:
		return http.StatusMethodNotAllowed
	case CodeConflict:
		return http.StatusConflict
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Errors to compare with: errors.Is(err, ErrNotFound) is true of every *Error with that
// code.
var (
	ErrBadRequest  = &Error{Code: CodeBadRequest}
	ErrDenied      = &Error{Code: CodeDenied}
	ErrNotFound    = &Error{Code: CodeNotFound}
	ErrConflict    = &Error{Code: CodeConflict}
	ErrUnavailable = &Error{Code: CodeUnavailable}
)

// An Error is a failure as the API tells it: a problem of RFC 9457. The server fills
// Type, Title and Status when it answers.
type Error struct {
	Type   string `json:"type"` // always about:blank: Code tells problems apart
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // what failed, on what
	Code   Code   `json:"code"`
	Hint   string `json:"hint,omitempty"` // what to try, as it reads after "Try: "

	cause error
}

// Errorf makes an Error. An error formatted with %w is what it unwraps to.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Detail: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint returns a copy of e that says what to try.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error is the detail, without the hint.
func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return e.Detail
}

// Unwrap returns what Errorf was given, if anything.
func (e *Error) Unwrap() error { return e.cause }

// Is makes the Err variables of this package match by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Detail == "" && t.Code == e.Code
}

// asError gives every error the form that the wire needs.
func asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: CodeInternal, Detail: err.Error()}
	}
	c := *e
	// What wrapped the Error said more.
	c.Detail = err.Error()
	c.Type = "about:blank"
	c.Status = c.Code.Status()
	c.Title = http.StatusText(c.Status)
	return &c
}
