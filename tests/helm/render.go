// Renders a Helm chart where there is no helm: by Go's own templates and sprig, of which helm is made, and those of
// helm's functions that the chart uses. A key that is not in the values is an error here.
//
//	render CHART RELEASE < values.json
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

func main() {
	if err := render(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(chart, release string) error {
	var given map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	given["Release"] = map[string]any{"Name": release, "Service": "Helm"}
	all := template.New("chart").Option("missingkey=error")
	all.Funcs(functions(all))
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := all.New(filepath.Base(file)).Parse(string(text)); err != nil {
			return err
		}
	}
	for _, file := range files {
		if !strings.HasSuffix(file, ".yaml") {
			continue
		}
		var out bytes.Buffer
		if err := all.ExecuteTemplate(&out, filepath.Base(file), given); err != nil {
			return err
		}
		fmt.Printf("---\n# Source: %s\n%s\n", filepath.Base(file), out.String())
	}
	return nil
}

func functions(all *template.Template) template.FuncMap {
	functions := sprig.TxtFuncMap()
	functions["include"] = func(name string, given any) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, given)
		return out.String(), err
	}
	functions["required"] = func(why string, given any) (any, error) {
		if given == nil || given == "" {
			return nil, fmt.Errorf("%s", why)
		}
		return given, nil
	}
	functions["toYaml"] = func(given any) (string, error) {
		var out bytes.Buffer
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		err := encoder.Encode(given)
		return strings.TrimSuffix(out.String(), "\n"), err
	}
	return functions
}
