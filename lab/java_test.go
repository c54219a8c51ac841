package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseJavaVersion(t *testing.T) {
	for out, want := range map[string]int{
		"openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)": 17,
		"java version \"1.8.0_392\"": 8,
		"openjdk version \"25\" 2025-09-16\nOpenJDK Runtime Environment (build 25+36)": 25,
		"openjdk version \"26-ea\" 2026-03-17":                                         26,
		"Picked up JAVA_TOOL_OPTIONS: -Xshare:off\nopenjdk version \"17\" 2021-09-14":  17,
		"java: command not found":                                                      0,
	} {
		_, major, ok := parseJavaVersion(out)
		assert.Equal(t, want, major, out)
		assert.Equal(t, want != 0, ok, out)
	}
}

func TestParseMavenVersion(t *testing.T) {
	out := "\x1b[1mApache Maven 3.8.7\x1b[m\nMaven home: /opt/maven\nJava version: 17.0.15, vendor: Debian, runtime: " +
		"/opt/jdk-17\nDefault locale: en\n"
	maven, java, runtime := parseMavenVersion(out)
	assert.Equal(t, []string{"3.8.7", "17.0.15", "/opt/jdk-17"}, []string{maven, java, runtime})
	maven, java, runtime = parseMavenVersion("Apache Maven 4.0.0-rc-3 (abc)\nJava version: 21.0.1\n")
	assert.Equal(t, []string{"4.0.0-rc-3", "21.0.1", ""}, []string{maven, java, runtime})
	maven, java, _ = parseMavenVersion("no such thing")
	assert.Empty(t, maven+java)
}

// program makes a script that prints text and returns its folder's bin.
func program(t *testing.T, home, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "bin"), 0o755))
	script := fmt.Sprintf("#!/bin/sh\ncat <<'END'\n%s\nEND\n", text)
	require.NoError(t, os.WriteFile(filepath.Join(home, "bin", name), []byte(script), 0o755))
}

func TestFindJava(t *testing.T) {
	home, path := t.TempDir(), t.TempDir()
	program(t, home, "java", `openjdk version "17.0.1"`)
	program(t, path, "java", `openjdk version "25" 2025-09-16`)
	t.Setenv("PATH", filepath.Join(path, "bin")+":/usr/bin:/bin")

	t.Setenv("JAVA_HOME", home)
	found, err := findJava(t.Context())
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(home, "bin", "java"), found)

	t.Setenv("JAVA_HOME", "")
	_, err = findJava(t.Context())
	assert.ErrorContains(t, err, "Java 17: found 25 (25) at "+filepath.Join(path, "bin", "java"))
	assert.ErrorContains(t, err, "set JAVA_HOME")

	t.Setenv("JAVA_HOME", t.TempDir())
	_, err = findJava(t.Context())
	assert.ErrorContains(t, err, "there is no bin/java in it")

	t.Setenv("JAVA_HOME", "")
	t.Setenv("PATH", t.TempDir())
	_, err = findJava(t.Context())
	assert.ErrorContains(t, err, "no java on the PATH")
}

func TestCheckMaven(t *testing.T) {
	home := t.TempDir()
	t.Setenv("PATH", filepath.Join(home, "bin")+":/usr/bin:/bin")
	for out, want := range map[string]string{
		"Apache Maven 3.6.3 (x)\nJava version: 17.0.1, vendor: V, runtime: /jdk": "",
		"Apache Maven 3.10.1\nJava version: 17":                                  "",
		"Apache Maven 3.9.9\nJava version: 25, vendor: V, runtime: /jdk": "runs on 25 (25 in /jdk); set " +
			"JAVA_HOME",
		"Apache Maven 3.3.9\nJava version: 17": "3.6.3 or later: found 3.3.9",
		"something else":                       "does not say its version",
	} {
		program(t, home, "mvn", out)
		err := checkMaven(t.Context())
		if want == "" {
			assert.NoError(t, err, out)
		} else {
			assert.ErrorContains(t, err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	assert.ErrorContains(t, checkMaven(t.Context()), "no mvn on the PATH")
}
