/**
 * E2B's control plane: its published clients create, find, pause and end hosted sandboxes with it.
 *
 * @see <a href="https://github.com/e2b-dev/E2B/blob/main/spec/openapi.yml">E2B's OpenAPI</a>
 */
@NullMarked
package dev.forkd.http.e2b;

import org.jspecify.annotations.NullMarked;
