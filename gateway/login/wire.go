package login

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"

	"airegw/gateway/outbound"
)

// wire carries the requests of x/oauth2 and go-oidc through an outbound.Client,
// so that they too have a deadline, no redirects and bounded answers. It keeps
// the last answer for the register.
type wire struct {
	client    *outbound.Client
	operation string
	// jsonOnly refuses a success of any other media type: oauth2 would guess.
	jsonOnly bool

	status int
	body   []byte
}

var (
	errEmpty     = errors.New("the answer is empty")
	errMediaType = errors.New("the answer is not application/json")
)

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	header := r.Header.Clone()
	header.Set("Accept", "application/json")
	response, err := w.client.Do(r.Context(), outbound.Request{
		Operation: w.operation, Method: r.Method, URL: r.URL.String(), Header: header, Body: body,
		Accept: func(int) bool { return true },
	})
	if err != nil {
		return nil, err
	}
	w.status, w.body = response.Status, response.Body
	if w.jsonOnly && response.Status == http.StatusOK && len(response.Body) == 0 {
		return nil, errEmpty
	}
	if w.jsonOnly && response.Status == http.StatusOK && mediaType(response.Header) != "application/json" {
		return nil, errMediaType
	}
	return &http.Response{
		StatusCode: response.Status, Status: http.StatusText(response.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: response.Header, Body: io.NopCloser(bytes.NewReader(response.Body)), ContentLength: int64(len(response.Body)), Request: r,
	}, nil
}

func (w *wire) httpClient() *http.Client { return &http.Client{Transport: w} }

// mediaType is the bare content type, lower case, without parameters.
func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// outOfOrder tells whether a status means that the peer is, for now.
func outOfOrder(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// unreachable tells whether a call failed because the peer is out of order, and
// not because of what it answered.
func unreachable(err error) bool {
	var failed *outbound.Error
	if !errors.As(err, &failed) {
		return false
	}
	switch failed.Kind {
	case outbound.KindUnreachable, outbound.KindTimeout, outbound.KindCutBody, outbound.KindBreakerOpen, outbound.KindTLS, outbound.KindCanceled:
		return true
	}
	return false
}
