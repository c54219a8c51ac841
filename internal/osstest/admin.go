package osstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Endpoints are where a server that another process runs can be reached.
type Endpoints struct {
	OSS   string `json:"oss"`          // [Server.URL]
	S3    string `json:"s3,omitempty"` // [Server.S3URL]
	Admin string `json:"admin"`        // for [NewAdmin]
	CA    string `json:"ca,omitempty"` // [Server.CA]
}

// Serve runs a server in a process of its own, so that its CPU time and memory stay apart from a
// client's that is measured. It starts one with the options and an admin interface, writes its
// [Endpoints] to ready as one line of JSON, and closes it when ctx ends. It returns nil then.
func Serve(ctx context.Context, o Options, ready io.Writer) error {
	s, err := Start(o)
	if err != nil {
		return err
	}
	admin, err := s.serveAdmin()
	if err != nil {
		return errors.Join(err, s.Close())
	}
	err = json.NewEncoder(ready).Encode(Endpoints{
		OSS: s.URL(), S3: s.S3URL(), Admin: "http://" + admin.Addr().String(), CA: string(s.CA()),
	})
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, admin.close(), s.Close())
}

// serveAdmin listens on a free port of the loopback interface. There's no password, so nothing but
// this computer may reach it.
func (s *Server) serveAdmin() (*listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("osstest: the admin interface: %w", err)
	}
	return serveOn(l, s.AdminHandler()), nil
}

// Report is what a server has seen since its start or the last reset.
type Report struct {
	Usage  []Usage          `json:"usage"`
	Faults map[string]int64 `json:"faults"` // [Server.Injected]
}

// AdminHandler serves the calls of [Admin]. It answers only requests that come from, and are meant
// for, the loopback interface: a web page that resolves its own name to 127.0.0.1 is refused as
// well.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, Report{Usage: s.Usage(), Faults: s.Injected()})
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetCounts()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		var specs []FaultSpec
		if readJSONBody(w, r, &specs) {
			finishAdmin(w, s.SetFaults(specs...))
		}
	})
	mux.HandleFunc("PUT /limits", func(w http.ResponseWriter, r *http.Request) {
		var l Limits
		if readJSONBody(w, r, &l) {
			s.SetLimits(r.URL.Query().Get("accessKey"), l)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("PUT /buckets/{name}", func(w http.ResponseWriter, r *http.Request) {
		finishAdmin(w, s.CreateBucket(r.PathValue("name"), BucketOptions{}))
	})
	mux.HandleFunc("GET /buckets/{name}/objects", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.store.bucket(r.PathValue("name")); err != nil {
			finishAdmin(w, err)
			return
		}
		writeJSON(w, s.Objects(r.PathValue("name")))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.RemoteAddr) || !loopback(r.Host) {
			http.Error(w, "the admin interface answers the loopback interface only", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func loopback(hostPort string) bool {
	host := hostPort
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever went away gets no answer
}

func readJSONBody(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxXMLSize))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func finishAdmin(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Admin steers a server in another process through its admin interface.
type Admin struct {
	url    string
	client *http.Client
}

// NewAdmin takes [Endpoints].Admin. A nil client means one with a transport of its own.
func NewAdmin(endpoint string, client *http.Client) *Admin {
	if client == nil {
		client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	}
	return &Admin{url: strings.TrimSuffix(endpoint, "/"), client: client}
}

// Report asks what the server has seen.
func (a *Admin) Report(ctx context.Context) (r Report, err error) {
	err = a.call(ctx, http.MethodGet, "/report", nil, &r)
	return r, err
}

// Reset starts counting from 0 again.
func (a *Admin) Reset(ctx context.Context) error {
	return a.call(ctx, http.MethodPost, "/reset", nil, nil)
}

// SetFaults is [Server.SetFaults]; none takes all away.
func (a *Admin) SetFaults(ctx context.Context, specs ...FaultSpec) error {
	return a.call(ctx, http.MethodPut, "/faults", append([]FaultSpec{}, specs...), nil)
}

// SetLimits is [Server.SetLimits].
func (a *Admin) SetLimits(ctx context.Context, accessKey string, l Limits) error {
	return a.call(ctx, http.MethodPut, "/limits?accessKey="+url.QueryEscape(accessKey), l, nil)
}

// CreateBucket makes a bucket without a request that is counted. One that is there keeps its
// objects.
func (a *Admin) CreateBucket(ctx context.Context, name string) error {
	return a.call(ctx, http.MethodPut, "/buckets/"+url.PathEscape(name), nil, nil)
}

// Objects are all objects of a bucket in the order of their keys, with their digests, without a
// request that is counted.
func (a *Admin) Objects(ctx context.Context, bucket string) (all []Object, err error) {
	err = a.call(ctx, http.MethodGet, "/buckets/"+url.PathEscape(bucket)+"/objects", nil, &all)
	return all, err
}

func (a *Admin) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, body)
	if err != nil {
		return fmt.Errorf("osstest: admin %s: %w", path, err)
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return fmt.Errorf("osstest: admin: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("osstest: admin %s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
