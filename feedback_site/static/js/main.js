// What every page has. Each module finds its own elements and does nothing where there are none.
import "./csrf.js";
import "./copy.js";
import "./dialogs.js";
import "./folds.js";
import "./menus.js";
import "./theme.js";
import "./times.js";
