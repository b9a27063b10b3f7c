"""What the local pages share: how they are served, and the player that switches between sounds
(``static/lockstep.js``). Nothing is loaded from elsewhere; extra ``[web]``."""
