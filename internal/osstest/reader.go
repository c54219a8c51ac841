package osstest

import (
	"errors"
	"io"
	"os"
)

// reader reads n bytes of an object from offset on, opening its files one by one.
type reader struct {
	o         *object
	offset, n int64
	current   *os.File
	left      int64 // of the current file
}

func (r *reader) advance() error {
	at := r.offset
	for _, f := range r.o.Files {
		if at >= f.Size {
			at -= f.Size
			continue
		}
		file, err := os.Open(f.path(r.o.dir))
		if err != nil {
			return err
		}
		if _, err := file.Seek(at, io.SeekStart); err != nil {
			_ = file.Close()
			return err
		}
		r.current, r.left = file, min(f.Size-at, r.n)
		return nil
	}
	return io.ErrUnexpectedEOF
}

// next makes sure that a file is open and returns what is left in it; io.EOF at the end.
func (r *reader) next() error {
	if r.current != nil && r.left > 0 {
		return nil
	}
	_ = r.Close()
	if r.n == 0 {
		return io.EOF
	}
	return r.advance()
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.next(); err != nil {
		return 0, err
	}
	n, err := r.current.Read(p[:min(int64(len(p)), r.left)])
	r.took(int64(n))
	return n, err
}

// small is what is cheaper to copy than to hand over: sendfile needs the headers in a packet of
// their own.
const small = 64 << 10

// WriteTo hands whole files to w, which can then use sendfile.
func (r *reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.next(); errors.Is(err, io.EOF) {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := r.copy(w)
		r.took(n)
		total += n
		if err != nil {
			return total, err
		}
	}
}

// copy sends what is left of the current file.
func (r *reader) copy(w io.Writer) (int64, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	if r.left <= small {
		p := (*buffer)[:r.left]
		if _, err := io.ReadFull(r.current, p); err != nil {
			return 0, err
		}
		n, err := w.Write(p)
		return int64(n), err
	}
	left := r.left
	n, err := io.CopyBuffer(w, &io.LimitedReader{R: r.current, N: left}, *buffer)
	if err == nil && n < left {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *reader) took(n int64) { r.offset, r.n, r.left = r.offset+n, r.n-n, r.left-n }

// Close closes the open file, if any.
func (r *reader) Close() error {
	if r.current == nil {
		return nil
	}
	f := r.current
	r.current = nil
	return f.Close()
}
