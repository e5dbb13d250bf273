/** Hosted sandboxes: workspaces with an owner's words, an access token and an end. */
@org.jspecify.annotations.NullMarked
package dev.forkd.hosted;
