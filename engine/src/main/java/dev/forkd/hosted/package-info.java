/** Hosted sandboxes: workspaces with an owner's words, an access token and an end. */
@NullMarked
package dev.forkd.hosted;

import org.jspecify.annotations.NullMarked;
