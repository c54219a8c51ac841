package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// javaWanted is the only major version of Java that the nodes are tried on: Elasticsearch 5.5 was
// made for 8, starts on 17 with three --add-opens, and needs the SecurityManager's classes, which
// later versions lose.
const javaWanted = 17

var (
	javaVersionLine  = regexp.MustCompile(`(?m)^\s*(?:\S+ )?version "([^"]+)"`)
	mavenVersionLine = regexp.MustCompile(`Apache Maven (\d[\w.\-]*)`)
	mavenJavaLine    = regexp.MustCompile(`(?m)^Java version: ([^,\s]+)(?:.*runtime: (.*))?$`)
)

// findJava returns the path of a java that is right for the nodes: the one in JAVA_HOME, else the
// one on the PATH.
func findJava(ctx context.Context) (string, error) {
	path, err := javaPath()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("the lab's Elasticsearch nodes run on Java %d: %s -version failed: %w\n%s", javaWanted,
			path, err, out)
	}
	version, major, ok := parseJavaVersion(string(out))
	if !ok {
		return "", fmt.Errorf("the lab's Elasticsearch nodes run on Java %d: %s does not say its version:\n%s",
			javaWanted, path, out)
	}
	if major != javaWanted {
		return "", fmt.Errorf("the lab's Elasticsearch nodes run on Java %d: found %d (%s) at %s; install a JDK %d "+
			"and set JAVA_HOME to its folder",
			javaWanted, major, version, path, javaWanted)
	}
	return path, nil
}

func javaPath() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path := filepath.Join(home, "bin", "java")
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("the lab's Elasticsearch nodes run on Java %d: JAVA_HOME is %s, but there is no "+
				"bin/java in it; set JAVA_HOME to the folder of a JDK %d, or unset it to take java from the PATH",
				javaWanted, home, javaWanted)
		}
		return path, nil
	}
	path, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("the lab's Elasticsearch nodes run on Java %d: no java on the PATH and no JAVA_HOME; "+
			"install a JDK %d and set JAVA_HOME to its folder",
			javaWanted, javaWanted)
	}
	return path, nil
}

// checkMaven makes sure that Maven is there and that it, too, runs on the wanted Java.
func checkMaven(ctx context.Context) error {
	path, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("the lab's Elasticsearch nodes are built by Maven: no mvn on the PATH; install Maven 3.6.3 " +
			"or later")
	}
	out, err := exec.CommandContext(ctx, path, "-v").CombinedOutput()
	if err != nil {
		return fmt.Errorf("the lab's Elasticsearch nodes are built by Maven: %s -v failed: %w\n%s", path, err, out)
	}
	maven, java, runtime := parseMavenVersion(string(out))
	_, major, ok := parseJavaVersion(`version "` + java + `"`)
	switch {
	case maven == "" || !ok:
		return fmt.Errorf("the lab's Elasticsearch nodes are built by Maven: %s -v does not say its version and its "+
			"Java:\n%s", path, out)
	case olderThan(maven, 3, 6, 3):
		return fmt.Errorf("the lab's Elasticsearch nodes are built by Maven 3.6.3 or later: found %s at %s; install "+
			"a later one", maven, path)
	case major != javaWanted:
		return fmt.Errorf("the lab's Elasticsearch nodes are built with Java %d: Maven at %s runs on %d (%s%s); set "+
			"JAVA_HOME, which Maven follows, to the folder of a JDK %d",
			javaWanted, path, major, java, prefixed(" in ", runtime), javaWanted)
	}
	return nil
}

// parseJavaVersion reads what `java -version` prints: version "17.0.15" is 17, "1.8.0_392" is 8,
// "25-ea" is 25.
func parseJavaVersion(out string) (version string, major int, ok bool) {
	m := javaVersionLine.FindStringSubmatch(out)
	if m == nil {
		return "", 0, false
	}
	numbers := strings.FieldsFunc(m[1], func(r rune) bool { return r < '0' || r > '9' })
	if len(numbers) > 1 && numbers[0] == "1" {
		numbers = numbers[1:]
	}
	if len(numbers) == 0 {
		return "", 0, false
	}
	major, err := strconv.Atoi(numbers[0])
	return m[1], major, err == nil
}

// parseMavenVersion reads what `mvn -v` prints, coloured or not. What isn't there is empty.
func parseMavenVersion(out string) (maven, java, runtime string) {
	if m := mavenVersionLine.FindStringSubmatch(out); m != nil {
		maven = m[1]
	}
	if m := mavenJavaLine.FindStringSubmatch(out); m != nil {
		java, runtime = m[1], strings.TrimSpace(m[2])
	}
	return maven, java, runtime
}

// olderThan compares the leading numbers of a version.
func olderThan(version string, than ...int) bool {
	numbers := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	for i, want := range than {
		have := 0
		if i < len(numbers) {
			have, _ = strconv.Atoi(numbers[i])
		}
		if have != want {
			return have < want
		}
	}
	return false
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
