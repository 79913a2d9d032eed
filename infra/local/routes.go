package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A sam is what `make run` takes from template.yaml.
type sam struct {
	Routes []route
	// TokenPath is the default of the parameter TokenPath.
	TokenPath string
}

// A route is one HttpApi event.
type route struct {
	Method string
	// Path is plain, or ends with a greedy variable, as in /{proxy+}.
	Path string
	// Function is the logical id of the function that serves it.
	Function string
}

// paths are those of all routes, as the template writes them, and TokenPath.
func (t sam) paths() []string {
	paths := []string{t.TokenPath}
	for _, r := range t.Routes {
		paths = append(paths, r.Path)
	}
	return paths
}

// readTemplate reads a SAM template's HttpApi events, so that a route that is
// missing there is missing here.
func readTemplate(text []byte) (sam, error) {
	var file struct {
		Parameters map[string]struct {
			Default string `yaml:"Default"`
		} `yaml:"Parameters"`
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return sam{}, err
	}
	t := sam{TokenPath: file.Parameters["TokenPath"].Default}
	for id, resource := range file.Resources {
		if resource.Type != "AWS::Serverless::Function" {
			continue
		}
		var function struct {
			Events map[string]struct {
				Type       string `yaml:"Type"`
				Properties struct {
					Method string `yaml:"Method"`
					Path   string `yaml:"Path"`
				} `yaml:"Properties"`
			} `yaml:"Events"`
		}
		if err := resource.Properties.Decode(&function); err != nil {
			return sam{}, fmt.Errorf("%s: %w", id, err)
		}
		for name, event := range function.Events {
			if event.Type != "HttpApi" {
				continue
			}
			r := route{strings.ToUpper(event.Properties.Method), event.Properties.Path, id}
			plain, _ := r.greedy()
			if !strings.HasPrefix(plain, "/") || strings.ContainsAny(plain, "{}") || r.Method == "" || r.Method == "ANY" {
				return sam{}, fmt.Errorf("%s.%s: a route here has one method, and a path without variables but a greedy one at its end", id, name)
			}
			t.Routes = append(t.Routes, r)
		}
	}
	if len(t.Routes) == 0 {
		return sam{}, errors.New("it has no HttpApi events")
	}
	return t, nil
}

// greedy returns what stands before a greedy variable.
func (r route) greedy() (prefix string, ok bool) {
	prefix, variable, ok := strings.Cut(r.Path, "{")
	return prefix, ok && strings.HasSuffix(variable, "+}")
}

// A gateway sends requests to functions as API Gateway does: "full match for a
// route and method" first, then "match for a route and method with a greedy path
// variable", the longest first; what is left is its own 404.
type gateway struct {
	exact  map[string]http.Handler
	greedy []greedyRoute
}

type greedyRoute struct {
	method, prefix string
	handler        http.Handler
}

func newGateway(routes []route, functions map[string]http.Handler) (gateway, error) {
	g := gateway{exact: map[string]http.Handler{}}
	for _, r := range routes {
		handler, ok := functions[r.Function]
		if !ok {
			return g, fmt.Errorf("it has a function %s that does not run here", r.Function)
		}
		if prefix, greedy := r.greedy(); greedy {
			g.greedy = append(g.greedy, greedyRoute{r.Method, prefix, handler})
			continue
		}
		key := r.Method + " " + r.Path
		if _, again := g.exact[key]; again {
			return g, fmt.Errorf("it has the route %s twice", key)
		}
		g.exact[key] = handler
	}
	slices.SortFunc(g.greedy, func(a, b greedyRoute) int { return len(b.prefix) - len(a.prefix) })
	return g, nil
}

// ServeHTTP answers what is no route with API Gateway's own words.
func (g gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler, ok := g.exact[r.Method+" "+r.URL.Path]; ok {
		handler.ServeHTTP(w, r)
		return
	}
	for _, route := range g.greedy {
		if rest, ok := strings.CutPrefix(r.URL.Path, route.prefix); ok && rest != "" && route.method == r.Method {
			route.handler.ServeHTTP(w, r)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(`{"message":"Not Found"}`))
}
