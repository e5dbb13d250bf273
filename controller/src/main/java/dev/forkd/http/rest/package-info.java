/** The REST routes: parse, ask the engine, render. One class per resource. */
@NullMarked
package dev.forkd.http.rest;

import org.jspecify.annotations.NullMarked;
