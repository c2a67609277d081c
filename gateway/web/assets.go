package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"
)

// vendor holds the third-party files copied at build time; a bare clone has
// only its placeholder. node_modules is never embedded.
//
//go:embed all:assets/vendor assets/own
var assetFiles embed.FS

// assetSet is every static file, served under a path that holds the digest of
// its content, so that it can be kept for a year and never be stale.
type assetSet struct {
	files   map[string]*assetFile // by the path below /assets/
	urls    map[string]string     // name → URL
	missing bool                  // built without the vendor files
}

type assetFile struct {
	contentType string
	raw         []byte
	packed      func() []byte // gzip, made at first use
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}

// assetRef is how our own style sheet names another asset.
var assetRef = regexp.MustCompile(`asset:([a-z0-9/._-]+)`)

// loadAssets reads the embedded files. References in our own style sheet are
// replaced by the digest paths of what they name.
func loadAssets() (*assetSet, error) {
	a := &assetSet{files: map[string]*assetFile{}, urls: map[string]string{}}
	add := func(name string, raw []byte) {
		sum := sha256.Sum256(raw)
		below := hex.EncodeToString(sum[:6]) + "/" + name
		f := &assetFile{contentType: contentTypes[path.Ext(name)], raw: raw}
		if !strings.HasSuffix(name, ".woff2") {
			f.packed = sync.OnceValue(func() []byte { return pack(raw) })
		}
		a.files[below] = f
		a.urls[name] = "/assets/" + below
	}
	var later []string
	for _, root := range []string{"assets/vendor", "assets/own"} {
		err := fs.WalkDir(assetFiles, root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || contentTypes[path.Ext(p)] == "" {
				return err
			}
			if p == "assets/own/app.css" {
				later = append(later, p)
				return nil
			}
			raw, err := assetFiles.ReadFile(p)
			if err != nil {
				return err
			}
			add(strings.TrimPrefix(p, root+"/"), raw)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("web: read assets: %w", err)
		}
	}
	a.missing = a.urls["bootstrap-italia.min.css"] == ""
	for _, p := range later {
		raw, err := assetFiles.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("web: read assets: %w", err)
		}
		add(path.Base(p), assetRef.ReplaceAllFunc(raw, func(m []byte) []byte {
			return []byte(a.urls[string(bytes.TrimPrefix(m, []byte("asset:")))])
		}))
	}
	return a, nil
}

func pack(raw []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(raw)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil // a buffer does not fail; plain bytes are served then
	}
	return b.Bytes()
}

// asset serves one static file.
func (s *Server) asset(c *gin.Context, _ *event) error {
	f, ok := s.assets.files[c.Param("version")+c.Param("path")]
	if !ok {
		return fault{status: http.StatusNotFound, code: "not_found"}
	}
	h := c.Writer.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	raw := f.raw
	if f.packed != nil && strings.Contains(c.GetHeader("Accept-Encoding"), "gzip") {
		if packed := f.packed(); packed != nil {
			h.Set("Content-Encoding", "gzip")
			raw = packed
		}
	}
	c.Data(http.StatusOK, f.contentType, raw)
	return nil
}

//go:embed openapi.yaml
var contract []byte

// contract serves the API's description.
func (s *Server) contract(c *gin.Context, _ *event) error {
	c.Header("Cache-Control", "public, max-age=300")
	c.Data(http.StatusOK, "application/yaml; charset=utf-8", contract)
	return nil
}
